//! The smart account, its policy, its virtual accounts, its tags.

use super::super::operation::{Operation, paged, shown};
use super::{CURSOR, LIMIT};
use crate::manager::domain::{OperatorCommand, Role};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/v1/account", "account", |ask| {
        Box::pin(async move { shown(&ask.api.service.read(|domain, _| domain.account()).await?) })
    })
    .says("The smart account and its policy")
    .answers(200, "@Account"),
    Operation::patch("/v1/account", "setPolicy", |ask| {
        Box::pin(async move {
            let patch = ask.json()?;
            ask.command(OperatorCommand::SetPolicy(patch)).await
        })
    })
    .says("Change the policy; what is left out stays")
    .needs(Role::Owner)
    .takes("@PolicyPatch")
    .answers(200, "@Account"),
    Operation::get("/v1/virtual-accounts", "virtualAccounts", |ask| {
        Box::pin(async move {
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, now| domain.virtual_accounts(&page, now)).await?)
        })
    })
    .says("Virtual accounts")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page VirtualAccount"),
    Operation::post("/v1/virtual-accounts", "createVirtualAccount", |ask| {
        Box::pin(async move {
            let new = ask.json()?;
            ask.command(OperatorCommand::CreateVirtualAccount(new)).await
        })
    })
    .says("Make a virtual account")
    .needs(Role::LicenseAdmin)
    .takes("@NewVirtualAccount")
    .answers(201, "@VirtualAccount"),
    Operation::patch("/v1/virtual-accounts/{virtual_account}", "updateVirtualAccount", |ask| {
        Box::pin(async move {
            let (id, new) = (ask.virtual_account(ask.part("virtual_account")).await?, ask.json()?);
            ask.command(OperatorCommand::UpdateVirtualAccount(id, new)).await
        })
    })
    .says("Rename or describe a virtual account")
    .needs(Role::LicenseAdmin)
    .takes("@NewVirtualAccount")
    .answers(200, "@VirtualAccount"),
    Operation::delete("/v1/virtual-accounts/{virtual_account}", "removeVirtualAccount", |ask| {
        Box::pin(async move {
            let id = ask.virtual_account(ask.part("virtual_account")).await?;
            ask.command(OperatorCommand::RemoveVirtualAccount(id)).await
        })
    })
    .says("Remove a virtual account that holds nothing and isn't the default")
    .needs(Role::LicenseAdmin)
    .answers_nothing(),
    Operation::get("/v1/tags", "tags", |ask| {
        Box::pin(async move {
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, _| domain.tags(&page)).await?)
        })
    })
    .says("Entitlement tags that the account knows")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page Tag"),
    Operation::post("/v1/tags", "defineTag", |ask| {
        Box::pin(async move {
            let tag = ask.json()?;
            ask.command(OperatorCommand::DefineTag(tag)).await
        })
    })
    .says("Make a tag known, or change what is known of it")
    .needs(Role::LicenseAdmin)
    .takes("@NewTag")
    .answers(200, "@Tag"),
    Operation::delete("/v1/tags/{tag}", "removeTag", |ask| {
        Box::pin(async move {
            let tag = ask.part("tag").to_owned();
            ask.command(OperatorCommand::RemoveTag(tag)).await
        })
    })
    .says("Forget a tag that has no licenses and no use")
    .needs(Role::LicenseAdmin)
    .answers_nothing(),
];
