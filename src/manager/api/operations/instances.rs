//! Product instances.

use serde::Deserialize;

use super::super::operation::{Operation, paged, rows, shown};
use super::super::problem::Problem;
use super::{CURSOR, LIMIT, VIRTUAL_ACCOUNT};
use crate::manager::domain::{InstanceFilter, InstanceState, OperatorCommand, Role, VirtualAccountId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveTo {
    to: VirtualAccountId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rehost {
    prepare: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowMachine {
    fingerprint: String,
    allow: bool,
}

fn state(text: &str) -> Result<InstanceState, Problem> {
    let names: Vec<&str> = InstanceState::ALL.iter().map(|state| state.name()).collect();
    let found = InstanceState::ALL.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| Problem::field("state", text, &names.join(", ")))
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/v1/instances", "instances", |ask| {
        Box::pin(async move {
            let filter = InstanceFilter {
                virtual_account: ask.asked_account().await?,
                state: ask.query.get("state").map(|text| state(text)).transpose()?,
                all: ask.asked("all", "true or false")?.unwrap_or(false),
                search: ask.query.get("search").cloned(),
            };
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, _| domain.instances(&filter, &page)).await?)
        })
    })
    .says("Product instances; those that are registered, unless asked otherwise")
    .query(&[
        VIRTUAL_ACCOUNT,
        ("state", "@InstanceState", "only those in this state"),
        ("all", "b", "those that are gone too"),
        ("search", "s", "only those with this in UDI, host name, id or note"),
        CURSOR,
        LIMIT,
    ])
    .answers(200, "page Instance"),
    Operation::get("/v1/instances/{instance}", "instance", |ask| {
        Box::pin(async move {
            let id = ask.instance().await?;
            let found = ask.api.service.read(move |domain, _| domain.instance(id)).await?;
            shown(&found.ok_or_else(|| Problem::missing("product instance", ask.part("instance")))?)
        })
    })
    .says("A product instance, by id or UDI")
    .answers(200, "@Instance"),
    Operation::patch("/v1/instances/{instance}", "updateInstance", |ask| {
        Box::pin(async move {
            let (id, patch) = (ask.instance().await?, ask.json()?);
            ask.command(OperatorCommand::UpdateInstance(id, patch)).await
        })
    })
    .says("Change an instance's priority or note")
    .needs(Role::Operator)
    .takes("@InstancePatch")
    .answers(200, "@Instance"),
    Operation::get("/v1/instances/{instance}/removal", "previewRemoval", |ask| {
        Box::pin(async move {
            let id = ask.instance().await?;
            shown(&ask.api.service.read(move |domain, _| domain.preview_removal(id)).await??)
        })
    })
    .says("What the removal of an instance would do, to calls and to licenses")
    .answers(200, "@RemovalPreview"),
    Operation::delete("/v1/instances/{instance}", "removeInstance", |ask| {
        Box::pin(async move {
            let (instance, confirm) = (ask.instance().await?, ask.query.get("confirm").cloned());
            ask.command(OperatorCommand::RemoveInstance { instance, confirm }).await
        })
    })
    .says("Remove an instance; without the preview's `confirm` the refusal (409) carries the preview")
    .needs(Role::Operator)
    .query(&[("confirm", "s", "`confirm` of the preview")])
    .answers(200, "@Instance"),
    Operation::post("/v1/instances/{instance}/transfer", "transferInstance", |ask| {
        Box::pin(async move {
            let MoveTo { to } = ask.json()?;
            let instance = ask.instance().await?;
            ask.command(OperatorCommand::TransferInstance { instance, to }).await
        })
    })
    .says("Move an instance, and what it asks for, to another virtual account")
    .needs(Role::LicenseAdmin)
    .takes("@MoveTo")
    .answers(200, "@Instance"),
    Operation::post("/v1/instances/{instance}/rehost", "prepareRehost", |ask| {
        Box::pin(async move {
            let Rehost { prepare } = ask.json()?;
            let instance = ask.instance().await?;
            ask.command(OperatorCommand::PrepareRehost { instance, prepare }).await
        })
    })
    .says("Note that a replacement for a dead instance is prepared, or no more")
    .needs(Role::LicenseAdmin)
    .takes("@Rehost")
    .answers(200, "@Instance"),
    Operation::post("/v1/instances/{instance}/forget", "forgetInstance", |ask| {
        Box::pin(async move {
            let id = ask.instance().await?;
            ask.command(OperatorCommand::ForgetInstance(id)).await
        })
    })
    .says("Forget an instance that is gone, with its numbers and its evaluation")
    .needs(Role::LicenseAdmin)
    .answers_nothing(),
    Operation::get("/v1/instances/{instance}/events", "instanceEvents", |ask| {
        Box::pin(async move {
            let (id, (before, limit)) = (ask.instance().await?, ask.back()?);
            let found = ask.api.service.history().events(Some(id), before, limit).await;
            rows(found.map_err(|error| Problem::hidden(&error))?, limit)
        })
    })
    .says("What happened to an instance, the newest first")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page InstanceEvent"),
    Operation::post("/v1/machines", "allowMachine", |ask| {
        Box::pin(async move {
            let AllowMachine { fingerprint, allow } = ask.json()?;
            ask.command(OperatorCommand::AllowMachine { fingerprint, allow }).await
        })
    })
    .says("Allow further identities of a machine, or no more")
    .needs(Role::LicenseAdmin)
    .takes("@AllowMachine")
    .answers_nothing(),
];
