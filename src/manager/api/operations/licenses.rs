//! Licenses: pools, lots, transfers; and the tokens by which instances come to them.

use serde::Deserialize;

use super::super::operation::{Operation, paged, rows, shown};
use super::super::problem::Problem;
use super::{CURSOR, LIMIT, VIRTUAL_ACCOUNT};
use crate::manager::domain::{OperatorCommand, Role, TokenId, Transfer, VirtualAccountId};

/// Where to, and how many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferTo {
    to: VirtualAccountId,
    quantity: u64,
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/v1/licenses", "licenses", |ask| {
        Box::pin(async move {
            let (account, page) = (ask.asked_account().await?, ask.page()?);
            paged(ask.api.service.read(move |domain, now| domain.licenses(account, &page, now)).await?)
        })
    })
    .says("Licenses by virtual account and tag: bought, in use, balance, compliance")
    .query(&[VIRTUAL_ACCOUNT, CURSOR, LIMIT])
    .answers(200, "page License"),
    Operation::get("/v1/lots", "lots", |ask| {
        Box::pin(async move {
            let (account, page) = (ask.asked_account().await?, ask.page()?);
            paged(ask.api.service.read(move |domain, now| domain.lots(account, &page, now)).await?)
        })
    })
    .says("Purchases")
    .query(&[VIRTUAL_ACCOUNT, CURSOR, LIMIT])
    .answers(200, "page Lot"),
    Operation::post("/v1/lots", "addLot", |ask| {
        Box::pin(async move {
            let lot = ask.json()?;
            ask.command(OperatorCommand::AddLot(lot)).await
        })
    })
    .says("Enter a purchase")
    .needs(Role::LicenseAdmin)
    .takes("@NewLot")
    .answers(201, "@Lot"),
    Operation::delete("/v1/lots/{lot}", "removeLot", |ask| {
        Box::pin(async move {
            let lot = ask.id("lot", "lot of licenses")?;
            ask.command(OperatorCommand::RemoveLot(lot)).await
        })
    })
    .says("Take a purchase back")
    .needs(Role::LicenseAdmin)
    .answers_nothing(),
    Operation::post("/v1/lots/{lot}/transfer", "transferLicenses", |ask| {
        Box::pin(async move {
            let TransferTo { to, quantity } = ask.json()?;
            let lot = ask.id("lot", "lot of licenses")?;
            ask.command(OperatorCommand::TransferLicenses(Transfer { lot, to, quantity })).await
        })
    })
    .says("Move licenses to another virtual account; answers the new lot")
    .needs(Role::LicenseAdmin)
    .takes("@TransferLicenses")
    .answers(200, "@Lot"),
    Operation::get("/v1/transfers", "transfers", |ask| {
        Box::pin(async move {
            let (before, limit) = ask.back()?;
            let found = ask.api.service.history().transfers(before, limit).await;
            rows(found.map_err(|error| Problem::hidden(&error))?, limit)
        })
    })
    .says("Transfers of licenses, the newest first")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page Transfer"),
    Operation::get("/v1/tokens", "tokens", |ask| {
        Box::pin(async move {
            let (account, page) = (ask.asked_account().await?, ask.page()?);
            paged(ask.api.service.read(move |domain, now| domain.tokens(account, &page, now)).await?)
        })
    })
    .says("Registration tokens, without their texts")
    .query(&[VIRTUAL_ACCOUNT, CURSOR, LIMIT])
    .answers(200, "page Token"),
    Operation::post("/v1/tokens", "createToken", |ask| {
        Box::pin(async move {
            let new = ask.json()?;
            ask.command(OperatorCommand::CreateToken(new)).await
        })
    })
    .says("Make a registration token; `secret` is shown this once")
    .needs(Role::Operator)
    .takes("@NewToken")
    .answers(201, "@MadeToken"),
    Operation::get("/v1/tokens/{token}", "token", |ask| {
        Box::pin(async move {
            let id: TokenId = ask.id("token", "token")?;
            let found = ask.api.service.read(move |domain, now| domain.token(id, now)).await?;
            shown(&found.ok_or_else(|| Problem::missing("token", ask.part("token")))?)
        })
    })
    .says("A token's facts")
    .answers(200, "@Token"),
    Operation::post("/v1/tokens/{token}/revoke", "revokeToken", |ask| {
        Box::pin(async move {
            let token = ask.id("token", "token")?;
            ask.command(OperatorCommand::RevokeToken(token)).await
        })
    })
    .says("End a token; what registered with it stays registered")
    .needs(Role::Operator)
    .answers(200, "@Token"),
    Operation::delete("/v1/tokens/{token}", "removeToken", |ask| {
        Box::pin(async move {
            let token = ask.id("token", "token")?;
            ask.command(OperatorCommand::RemoveToken(token)).await
        })
    })
    .says("Forget a token that ended")
    .needs(Role::Operator)
    .answers_nothing(),
];
