//! Licensing over HTTP: its pages, and the operator's commands.
//!
//! Commands are answered once what they did is on disk. What the manager says comes later: `in_progress` tells so, and events
//! and pages tell the end.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{MethodRouter, get, post};
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::shared::Shared;
use super::super::status::license_state;
use super::router::{bad_query, json_text, off_the_reactor, problem_answer};
use crate::codec::http::reply::PROBLEM_CONTENT_TYPE;
use crate::license::agent::{Command, CommandRefused, Done};
use crate::license::view::{FORECAST_DAYS, Page};
use crate::limits::VerdictCause;
use crate::protocol::RegistrationToken;
use crate::shell::license::handle::NotRunning;
use crate::shell::license::overrides::Overrides;
use crate::shell::license::store::BACKUP_BYTES_MAX;
use crate::shell::telemetry::{EventKind, Severity};
use crate::units::LicensedRate;

/// The largest body of a command, in bytes.
const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// The commands, by the last part of their path.
pub(super) const COMMANDS: [&str; 14] = [
    "enable",
    "disable",
    "count",
    "sessions",
    "register",
    "cancel",
    "deregister",
    "renew-auth",
    "renew-id",
    "report-now",
    "test-connection",
    "backup",
    "restore",
    "factory-reset",
];

type Shell = State<Arc<Shared>>;
pub(super) type Body = Result<Bytes, BytesRejection>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut router = Router::new().route("/v1/license", get(page)).route("/v1/license/usage", get(usage));
    for command in COMMANDS {
        if let Some(route) = route(command) {
            router = router.route(&format!("/v1/admin/license/{command}"), route);
        }
    }
    router
}

fn route(command: &str) -> Option<MethodRouter<Arc<Shared>>> {
    let small = DefaultBodyLimit::max(COMMAND_BYTES_MAX);
    let route = match command {
        "enable" => post(async |shell: Shell, body: Body| switch(shell, body, true).await),
        "disable" => post(async |shell: Shell, body: Body| switch(shell, body, false).await),
        "count" => post(count),
        "sessions" => post(sessions),
        "register" => post(register),
        "cancel" => simple("cancel", || Command::CancelRegistration),
        "deregister" => simple("deregister", || Command::Deregister),
        "renew-auth" => simple("renew-auth", || Command::RenewAuthorization),
        "renew-id" => simple("renew-id", || Command::RenewId),
        "report-now" => simple("report-now", || Command::ReportNow),
        "test-connection" => post(test_connection),
        "backup" => post(backup),
        "restore" => return Some(post(restore).layer(DefaultBodyLimit::max(BACKUP_BYTES_MAX))),
        "factory-reset" => post(factory_reset),
        _ => return None,
    };
    Some(route.layer(small))
}

/// A command without fields.
fn simple(name: &'static str, command: fn() -> Command) -> MethodRouter<Arc<Shared>> {
    post(async move |State(shared): Shell, body: Body| {
        fields::<Nothing>(body)?;
        Ok::<_, Answer>(outcome(&shared, name, shared.context.license.command(command()).await))
    })
}

/// `?page=forecast&days=90`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    page: Option<String>,
    days: Option<u32>,
}

async fn page(State(shared): Shell, query: Result<Query<PageQuery>, QueryRejection>) -> Result<Answer, Answer> {
    let Query(PageQuery { page, days }) = query.map_err(|rejection| bad_query(&rejection))?;
    let page = match page.as_deref() {
        None => Page::Overview,
        Some(name) => Page::from_name(name).ok_or_else(|| {
            let names = Page::ALL.map(Page::name).join(", ");
            let detail = format!("found page={name:?}; accepted: {names}");
            problem_answer(StatusCode::BAD_REQUEST, "the query can't be understood", detail)
        })?,
    };
    let days = days.unwrap_or(FORECAST_DAYS);
    match shared.context.license.look(move |input| page.json(input, days).to_string()).await {
        Ok(text) => Ok(json_text(text)),
        // What stands is known without the agent.
        Err(NotRunning) if page == Page::Overview => Ok(json_text(stands(&shared))),
        Err(error) => Err(not_running(error)),
    }
}

async fn usage(State(shared): Shell) -> Result<Answer, Answer> {
    let text = shared.context.license.look(|input| Page::Usage.json(input, FORECAST_DAYS).to_string()).await;
    text.map(json_text).map_err(not_running)
}

fn not_running(error: NotRunning) -> Answer {
    problem_answer(StatusCode::SERVICE_UNAVAILABLE, "licensing doesn't answer", error.to_string())
}

const fn cause_name(cause: Option<VerdictCause>) -> Option<&'static str> {
    match cause {
        None => None,
        Some(VerdictCause::Unconfigured) => Some("unconfigured"),
        Some(VerdictCause::EvaluationExpired) => Some("evaluation-expired"),
        Some(VerdictCause::AuthorizationExpired) => Some("authorization-expired"),
        Some(VerdictCause::ReservationExpired) => Some("reservation-expired"),
        Some(VerdictCause::Enforced) => Some("enforced"),
        Some(VerdictCause::Revoked) => Some("revoked"),
    }
}

/// What calls are judged by, whether an agent runs or not.
fn stands(shared: &Shared) -> String {
    let verdict = shared.context.gate.verdict().get();
    json!({
        "profile": shared.context.config.load().license.profile,
        "state": license_state(shared),
        "refused": {
            "calls": cause_name(verdict.calls),
            "registrations": cause_name(verdict.registrations),
            "configuration": cause_name(verdict.configuration),
        },
    })
    .to_string()
}

/// A body that is not taken.
pub(super) struct Unread {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl From<Unread> for Answer {
    fn from(Unread { status, title, detail }: Unread) -> Self {
        problem_answer(status, title, detail)
    }
}

/// No fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The fields of a command: a JSON object, or nothing at all for one that needs none.
pub(super) fn fields<T: DeserializeOwned>(body: Body) -> Result<T, Unread> {
    let body = whole(body)?;
    let text = if body.trim_ascii().is_empty() { b"{}".as_slice() } else { &body };
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // The values themselves are never repeated: one may be a token.
        let at = match error.path().to_string().as_str() {
            "." => "the body".to_owned(),
            path => format!("field {path}"),
        };
        let inner = error.inner();
        let what = if inner.is_data() { data_error(inner) } else { "is no JSON".to_owned() };
        let detail = format!("{at}: {what}; /openapi.json says what is accepted");
        Unread { status: StatusCode::BAD_REQUEST, title: "the body can't be understood", detail }
    })
}

/// A message of serde's without the value that it may quote.
fn data_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.split_once("invalid type: ").or_else(|| text.split_once("invalid value: ")) {
        Some((_, rest)) => rest.rsplit_once(", expected ").map_or_else(
            || "is of the wrong type".to_owned(),
            |(_, expected)| format!("is not what is expected ({expected})"),
        ),
        None => text.to_owned(),
    }
}

fn whole(body: Body) -> Result<Bytes, Unread> {
    body.map_err(|rejection| {
        let status = rejection.status();
        let title =
            if status == StatusCode::PAYLOAD_TOO_LARGE { "the body is too large" } else { "the body broke off" };
        Unread { status, title, detail: rejection.body_text() }
    })
}

/// A command's answer, and a line for who watches.
fn outcome(shared: &Shared, command: &'static str, outcome: Result<Done, CommandRefused>) -> Answer {
    let context = &shared.context;
    match outcome {
        Ok(done) => {
            let text = format!("An operator asked for license {command}: {}.", done.text);
            tracing::info!("{text}");
            let data = json!({ "command": format!("license {command}") });
            context.events.publish(context.clock.wall(), EventKind::Operator, Severity::Info, text, data);
            json_text(serde_json::to_string(&done).unwrap_or_default())
        }
        Err(refused) => refusal(&refused),
    }
}

fn refusal(refused: &CommandRefused) -> Answer {
    let status = match refused.code {
        "agent_stale" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    let problem = json!({
        "status": status.as_u16(),
        "title": "licensing refuses this",
        "detail": refused.text,
        "code": refused.code,
    });
    (status, [(CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], problem.to_string()).into_response()
}

/// Changes the operator's own values and puts them in force; or leaves everything as it was.
async fn change(
    shared: &Arc<Shared>,
    command: &'static str,
    change: impl FnOnce(&mut Overrides) + Send + 'static,
) -> Result<Answer, Answer> {
    match changed(shared, change).await? {
        Ok(keys) => {
            let text =
                if keys.is_empty() { "nothing differs".to_owned() } else { format!("in force: {}", keys.join(", ")) };
            Ok(outcome(shared, command, Ok(Done { in_progress: false, text })))
        }
        Err(refused) => Err(refusal(&refused)),
    }
}

/// Changes the operator's own values and puts them in force: the keys that differ, or why everything is as it was.
async fn changed(
    shared: &Arc<Shared>,
    change: impl FnOnce(&mut Overrides) + Send + 'static,
) -> Result<Result<Vec<String>, CommandRefused>, Answer> {
    let turn = shared.context.license.overrides.lock().await;
    let data_dir = shared.context.config.load().node.data_dir.clone();
    let (before, written) = off_the_reactor(shared, move |_| {
        let (before, _) = Overrides::read(&data_dir);
        let mut after = before.clone();
        change(&mut after);
        let written = after.write(&data_dir);
        (before, written)
    })
    .await?;
    let not_written = |error: String| CommandRefused { code: "not_saved", text: error };
    if let Err(error) = written {
        return Ok(Err(not_written(error.to_string())));
    }
    let reloaded = shared.context.reload().await;
    if let Err(refused) = &reloaded {
        let data_dir = shared.context.config.load().node.data_dir.clone();
        let undone = off_the_reactor(shared, move |_| before.write(&data_dir)).await?;
        let text = refused.reasons.join("; ");
        let refused = CommandRefused { code: "refused", text };
        return Ok(Err(undone.err().map_or(refused, |error| not_written(error.to_string()))));
    }
    drop(turn);
    Ok(Ok(reloaded.map(|reloaded| reloaded.changed.into_iter().collect()).unwrap_or_default()))
}

async fn switch(State(shared): Shell, body: Body, enabled: bool) -> Result<Answer, Answer> {
    fields::<Nothing>(body)?;
    let name = if enabled { "enable" } else { "disable" };
    change(&shared, name, move |overrides| overrides.enabled = Some(enabled)).await
}

/// `null` takes the override back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    count: Option<u32>,
}

async fn count(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let Count { count } = fields(body)?;
    if let Some(Err(refused)) = count.map(LicensedRate::new) {
        let detail =
            format!("count: accepted are multiples of 5; the nearest are {} and {}", refused.below, refused.above);
        return Err(problem_answer(StatusCode::BAD_REQUEST, "the body can't be understood", detail));
    }
    change(&shared, "count", move |overrides| overrides.count = count).await
}

/// `null` takes the override back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sessions {
    sessions: Option<u32>,
}

async fn sessions(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let Sessions { sessions } = fields(body)?;
    change(&shared, "sessions", move |overrides| overrides.sessions = sessions).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    token: RegistrationToken,
    #[serde(default)]
    force: bool,
}

async fn register(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let Register { token, force } = fields(body)?;
    Ok(outcome(&shared, "register", shared.context.license.command(Command::Register { token, force }).await))
}

async fn test_connection(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    fields::<Nothing>(body)?;
    let report = shared.context.license.probe().await.map_err(not_running)?;
    Ok(json_text(serde_json::to_string(&report).unwrap_or_default()))
}

async fn backup(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    fields::<Nothing>(body)?;
    shared.context.license.backup().await.map(json_text).map_err(|refused| refusal(&refused))
}

/// The body is a backup, as `backup` answered it.
async fn restore(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let bytes = whole(body)?;
    let turn = shared.context.license.overrides.lock().await;
    match shared.context.license.restore(bytes.to_vec()).await {
        Ok(mut done) => {
            // The backup's own counts are in force from here on.
            if let Err(refused) = shared.context.reload().await {
                done.text.push_str("; the counts of the backup are written, and are not in force: ");
                done.text.push_str(&refused.reasons.join("; "));
            }
            drop(turn);
            Ok(outcome(&shared, "restore", Ok(done)))
        }
        Err(refused) if refused.code == "backup" => {
            Err(problem_answer(StatusCode::BAD_REQUEST, "that is no backup of this sidecar's licensing", refused.text))
        }
        Err(refused) => Err(refusal(&refused)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactoryReset {
    keep_licensing: bool,
}

async fn factory_reset(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let FactoryReset { keep_licensing } = fields(body)?;
    let mut done = shared.context.license.command(Command::FactoryReset { keep_licensing }).await;
    if let (Ok(done), false) = (&mut done, keep_licensing) {
        if done.in_progress {
            // The driver does it once the licenses are given back.
            done.text.push_str("; what operators changed by command is taken back when that is done");
        } else if let Err(refused) = changed(&shared, |overrides| *overrides = Overrides::default()).await? {
            // The reset itself is done: that is not refused any more.
            done.text.push_str("; what operators changed by command is still in force: ");
            done.text.push_str(&refused.text);
        } else {
            done.text.push_str("; what operators changed by command is taken back");
        }
    }
    Ok(outcome(&shared, "factory-reset", done))
}
