//! What was: usage, reports, alerts, the audit log.

use serde::Deserialize;
use serde_json::json;

use super::super::operation::{Ask, Operation, Reply, paged, rows, shown};
use super::super::problem::Problem;
use super::{CURSOR, LIMIT, VIRTUAL_ACCOUNT};
use crate::manager::domain::{OperatorCommand, ReportKind, Role, VirtualAccountId};
use crate::manager::store::{HistoryError, PoolUsageQuery, StoreError, UsageBy, UsageCursor, UsagePage, UsageQuery};
use crate::notice::Notice;
use crate::units::UnixMillis;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunReport {
    kind: ReportKind,
    #[serde(default)]
    virtual_account: Option<VirtualAccountId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    alert: String,
}

/// Where the audit log is verified.
pub(super) const VERIFY_PATH: &str = "/v1/audit/verify";

fn failed(error: StoreError) -> Problem {
    Problem::hidden(&error)
}

async fn usage_query(ask: &Ask) -> Result<UsageQuery, Problem> {
    let time = "milliseconds since 1970";
    let instance = match ask.query.get("instance") {
        None => None,
        Some(text) => {
            let asked = text.clone();
            let found = ask.api.service.read(move |domain, _| domain.find_instance(&asked)).await?;
            Some(found.ok_or_else(|| Problem::missing("product instance", text))?)
        }
    };
    Ok(UsageQuery {
        instance,
        virtual_account: ask.asked_account().await?,
        tag: ask.query.get("tag").cloned(),
        from: UnixMillis(ask.number("from", time)?.unwrap_or(0)),
        until: ask.number("until", time)?.map(UnixMillis),
        after: usage_cursor(ask)?,
        limit: u32::try_from(ask.limit()?).unwrap_or(1_000),
    })
}

fn usage_cursor(ask: &Ask) -> Result<Option<UsageCursor>, Problem> {
    let Some(text) = ask.query.get("cursor") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Problem::field("cursor", text, "`next` of the page before"))
}

fn usage_page<T: serde::Serialize>(page: UsagePage<T>) -> Result<Reply, Problem> {
    let next = page.next.map(|next| next.to_string());
    shown(&json!({ "items": page.items, "next": next }))
}

async fn pool_usage(ask: Ask) -> Result<Reply, Problem> {
    let time = "milliseconds since 1970";
    let by = match ask.query.get("by").map(String::as_str) {
        None | Some("day") => UsageBy::Day,
        Some("hour") => UsageBy::Hour,
        Some("range") => UsageBy::Range,
        Some(other) => return Err(Problem::field("by", other, "hour, day, range")),
    };
    let query = PoolUsageQuery {
        virtual_account: ask.asked_account().await?,
        tag: ask.query.get("tag").cloned(),
        from: UnixMillis(ask.number("from", time)?.unwrap_or(0)),
        until: ask.number("until", time)?.map(UnixMillis),
        by,
        after: usage_cursor(&ask)?,
        limit: u32::try_from(ask.limit()?).unwrap_or(1_000),
    };
    usage_page(ask.api.service.history().usage_of_pools(&query).await.map_err(failed)?)
}

const INSTANCE: (&str, &str, &str) = ("instance", "s", "id or UDI of a product instance");
const TAG: (&str, &str, &str) = ("tag", "s", "an entitlement tag");
const FROM: (&str, &str, &str) = ("from", "t", "intervals that end at this or after");
const UNTIL: (&str, &str, &str) = ("until", "t", "intervals that end at this or before");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/v1/usage", "usage", |ask| {
        Box::pin(async move {
            let query = usage_query(&ask).await?;
            usage_page(ask.api.service.history().usage(&query).await.map_err(failed)?)
        })
    })
    .says("Use by report, of the last 30 days, the oldest first; a page may be short and have a next one")
    .query(&[INSTANCE, VIRTUAL_ACCOUNT, TAG, FROM, UNTIL, CURSOR, LIMIT])
    .answers(200, "page Usage"),
    Operation::get("/v1/usage/daily", "usageDaily", |ask| {
        Box::pin(async move {
            let query = usage_query(&ask).await?;
            usage_page(ask.api.service.history().usage_daily(&query).await.map_err(failed)?)
        })
    })
    .says("Use by day, of what is older, the oldest first; a page may be short and have a next one")
    .query(&[INSTANCE, VIRTUAL_ACCOUNT, TAG, FROM, UNTIL, CURSOR, LIMIT])
    .answers(200, "page UsageDay"),
    Operation::get("/v1/usage/pools", "usageOfPools", |ask| Box::pin(pool_usage(ask)))
        .says("Use of each tag in each virtual account: hourly peaks, 95th percentiles and reports, by hour, day or range")
        .query(&[
            VIRTUAL_ACCOUNT,
            TAG,
            ("from", "t", "hours that begin at this or after"),
            ("until", "t", "hours that begin before this"),
            ("by", "@UsageBy", "what one item sums up; a day (UTC) if left out"),
            CURSOR,
            LIMIT,
        ])
        .answers(200, "page UsagePool"),
    Operation::get("/v1/reports", "reports", |ask| {
        Box::pin(async move {
            let (before, limit) = ask.back()?;
            let found = ask.api.service.history().reports(before, limit).await.map_err(failed)?;
            let full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
            let next = found.last().filter(|_| full).map(|report| report.seq.to_string());
            let items: Vec<_> =
                found.iter().map(|report| json!({ "id": report.id, "kind": report.kind, "at": report.at })).collect();
            Ok(Reply::Json(json!({ "items": items, "next": next })))
        })
    })
    .says("Archived reports, the newest first")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page ReportHead"),
    Operation::post("/v1/reports", "runReport", |ask| {
        Box::pin(async move {
            let RunReport { kind, virtual_account } = ask.json()?;
            ask.command(OperatorCommand::RunReport(kind, virtual_account)).await
        })
    })
    .says("Make a report and archive it")
    .needs(Role::Operator)
    .takes("@RunReport")
    .answers(201, "@Report"),
    Operation::get("/v1/reports/{report}", "report", |ask| {
        Box::pin(async move {
            let found = ask.api.service.history().report(ask.part("report")).await.map_err(failed)?;
            shown(&found.ok_or_else(|| Problem::missing("report", ask.part("report")))?)
        })
    })
    .says("An archived report")
    .answers(200, "@Report"),
    Operation::get("/v1/alerts", "alerts", |ask| {
        Box::pin(async move {
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, _| domain.alerts(&page)).await?)
        })
    })
    .says("Active alerts")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page Alert"),
    Operation::get("/v1/alerts/ended", "alertsEnded", |ask| {
        Box::pin(async move {
            let (before, limit) = ask.back()?;
            rows(ask.api.service.history().alerts_ended(before, limit).await.map_err(failed)?, limit)
        })
    })
    .says("Alerts that ended, the newest first")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page AlertEnded"),
    Operation::post("/v1/alerts/acknowledge", "acknowledgeAlert", |ask| {
        Box::pin(async move {
            let Acknowledge { alert } = ask.json()?;
            ask.command(OperatorCommand::AcknowledgeAlert(alert)).await
        })
    })
    .says("Say that an alert is known")
    .needs(Role::Operator)
    .takes("@Acknowledge")
    .answers(200, "@Alert"),
    Operation::post("/v1/alerts/test", "testAlerts", |ask| {
        Box::pin(async move {
            let notice = Notice::test(ask.api.source.clone(), ask.api.service.now());
            let only = ask.query.get("destination").map(String::as_str);
            match ask.api.notifier.test(only, &notice).await {
                Ok(results) => shown(&json!({ "results": results })),
                Err(unknown) => Err(Problem::missing("destination", &unknown.found)),
            }
        })
    })
    .says("Send a test notice to every destination, or to one")
    .query(&[("destination", "s", "one destination alone")])
    .needs(Role::Operator)
    .answers(200, "@AlertTest"),
    Operation::get("/v1/audit", "audit", |ask| {
        Box::pin(async move {
            let after = ask.cursor()?.unwrap_or(0);
            let limit = u32::try_from(ask.limit()?).unwrap_or(1_000);
            let items = ask.api.service.history().audit(after, limit).await.map_err(failed)?;
            let full = items.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
            let next = items.last().filter(|_| full).map(|entry| entry.seq.to_string());
            shown(&json!({ "items": items, "next": next }))
        })
    })
    .says("The audit log, the oldest first; each entry holds the hash of the one before")
    .query(&[CURSOR, LIMIT])
    .answers(200, "page AuditEntry"),
    Operation::post(VERIFY_PATH, "verifyAudit", |ask| {
        Box::pin(async move {
            let history = ask.api.service.history().clone();
            let verified = ask.api.alone(async move { history.verify_audit().await }).await?;
            Ok(Reply::Json(match verified {
                Ok(head) => json!({ "whole": true, "entries": head.seq, "head": head.hash, "broken": null }),
                Err(HistoryError::Chain(broken)) => {
                    json!({ "whole": false, "entries": null, "head": null, "broken": broken.to_string() })
                }
                Err(HistoryError::Store(error)) => return Err(failed(error)),
            }))
        })
    })
    .says("Recompute the whole chain, and say where it is broken, if it is")
    .answers(200, "@AuditVerified"),
];
