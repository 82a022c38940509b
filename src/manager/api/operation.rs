//! What an operation of the operator API is: a row of a table, from which the router, the authorization and the OpenAPI
//! document are made, so that none of them can say something else.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Api, Peer};
use crate::manager::domain::{
    Actor, InstanceId, OperatorCommand, OperatorReply, PageRequest, Paged, Role, VirtualAccountId,
};
use crate::manager::store::EventRow;

/// The largest body of an operator's request, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody: health, and the login itself.
    Nothing,
    /// Somebody with at least this role.
    Role(Role),
}

/// A query parameter: name, schema in the notation of `schemas`, meaning.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

/// What a success carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON, by the notation of `schemas`.
    Json(&'static str),
    /// Nothing.
    Empty,
    /// Another content type.
    Text(&'static str),
}

/// A handler's future.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// A row of the table.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs: Needs,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<&'static str>,
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) handler: fn(Ask) -> Answering,
}

impl Operation {
    const fn new(verb: Verb, path: &'static str, id: &'static str, handler: fn(Ask) -> Answering) -> Self {
        Self {
            verb,
            path,
            id,
            summary: "",
            needs: Needs::Role(Role::Viewer),
            query: &[],
            body: None,
            status: 200,
            content: Content::Empty,
            handler,
        }
    }

    pub(super) const fn get(path: &'static str, id: &'static str, handler: fn(Ask) -> Answering) -> Self {
        Self::new(Verb::Get, path, id, handler)
    }

    pub(super) const fn post(path: &'static str, id: &'static str, handler: fn(Ask) -> Answering) -> Self {
        Self::new(Verb::Post, path, id, handler)
    }

    pub(super) const fn patch(path: &'static str, id: &'static str, handler: fn(Ask) -> Answering) -> Self {
        Self::new(Verb::Patch, path, id, handler)
    }

    pub(super) const fn delete(path: &'static str, id: &'static str, handler: fn(Ask) -> Answering) -> Self {
        Self::new(Verb::Delete, path, id, handler)
    }

    pub(super) const fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(super) const fn needs(mut self, role: Role) -> Self {
        self.needs = Needs::Role(role);
        self
    }

    pub(super) const fn open(mut self) -> Self {
        self.needs = Needs::Nothing;
        self
    }

    pub(super) const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    pub(super) const fn takes(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn answers(mut self, status: u16, schema: &'static str) -> Self {
        self.status = status;
        self.content = Content::Json(schema);
        self
    }

    pub(super) const fn answers_text(mut self, content_type: &'static str) -> Self {
        self.content = Content::Text(content_type);
        self
    }

    pub(super) const fn answers_nothing(mut self) -> Self {
        self.status = 204;
        self
    }
}

/// A success; its status is the table's.
pub(super) enum Reply {
    /// JSON.
    Json(Value),
    /// Nothing.
    Empty,
    /// Text of the table's content type.
    Text(String),
}

/// A request to an operation, authorized.
pub(super) struct Ask {
    pub(super) api: Arc<Api>,
    pub(super) peer: Peer,
    /// Who asks; for [`Needs::Nothing`] nobody in particular.
    pub(super) actor: Actor,
    /// The bearer's secret, for ending its session.
    pub(super) bearer: Option<zeroize::Zeroizing<String>>,
    pub(super) path: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// Anything as JSON.
pub(super) fn shown<T: Serialize>(value: &T) -> Result<Reply, Problem> {
    serde_json::to_value(value).map(Reply::Json).map_err(|error| Problem::hidden(&error))
}

/// A page of the domain.
pub(super) fn paged<T: Serialize>(page: Paged<T>) -> Result<Reply, Problem> {
    shown(&page?)
}

/// A page of a journal, the newest first.
pub(super) fn rows<T: Serialize>(rows: Vec<EventRow<T>>, limit: u32) -> Result<Reply, Problem> {
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|row| row.seq.to_string());
    let items: Result<Vec<Value>, _> = rows.iter().map(|row| serde_json::to_value(&row.row)).collect();
    let items = items.map_err(|error| Problem::failed(error.to_string()))?;
    Ok(Reply::Json(json!({ "items": items, "next": next })))
}

impl Ask {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// The same as an id; what can't be one names nothing.
    pub(super) fn id<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Problem> {
        self.part(name).parse().map_err(|_| Problem::missing(what, self.part(name)))
    }

    /// A query parameter.
    pub(super) fn asked<T: FromStr>(&self, name: &str, accepted: &str) -> Result<Option<T>, Problem> {
        match self.query.get(name) {
            None => Ok(None),
            // No database holds more than 63 bits.
            Some(text) if text.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_err()) => {
                Err(Problem::field(name, text, accepted))
            }
            Some(text) => text.parse().map(Some).map_err(|_| Problem::field(name, text, accepted)),
        }
    }

    pub(super) fn page(&self) -> Result<PageRequest, Problem> {
        Ok(PageRequest { cursor: self.query.get("cursor").cloned(), limit: self.limit()? })
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit: usize = self.asked("limit", "1 to 1000")?.unwrap_or(100);
        if (1..=1_000).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::field("limit", &limit.to_string(), "1 to 1000"))
    }

    /// A row's number.
    pub(super) fn cursor(&self) -> Result<Option<u64>, Problem> {
        self.number("cursor", "`next` of the page before")
    }

    /// A number that the database can hold.
    pub(super) fn number(&self, name: &str, accepted: &str) -> Result<Option<u64>, Problem> {
        let found = self.asked::<u64>(name, accepted)?;
        match found.filter(|number| i64::try_from(*number).is_err()) {
            None => Ok(found),
            Some(large) => Err(Problem::field(name, &large.to_string(), accepted)),
        }
    }

    /// Number of rows, and the row to begin before.
    pub(super) fn back(&self) -> Result<(Option<u64>, u32), Problem> {
        let before = self.cursor()?;
        Ok((before, u32::try_from(self.limit()?).unwrap_or(1_000)))
    }

    /// The JSON body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let whole: Value = serde_json::from_slice(&self.body).map_err(|error| Problem::bad(error.to_string()))?;
        checked(&whole)?;
        let value = serde_path_to_error::deserialize(whole).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("{path}: ") };
            Problem::bad(format!("{place}{}", error.inner()))
        })?;
        Ok(value)
    }

    /// Gives a command to the domain and shows what it answered.
    pub(super) async fn command(self, command: OperatorCommand) -> Result<Reply, Problem> {
        let reply = self.api.service.operator(self.actor, command).await??;
        show(reply)
    }

    /// A virtual account by id or name.
    pub(super) async fn virtual_account(&self, id_or_name: &str) -> Result<VirtualAccountId, Problem> {
        let text = id_or_name.to_owned();
        let found = self.api.service.read(move |domain, _| domain.find_virtual_account(&text)).await?;
        found.ok_or_else(|| Problem::missing("virtual account", id_or_name))
    }

    /// The one that the query names, if it names one.
    pub(super) async fn asked_account(&self) -> Result<Option<VirtualAccountId>, Problem> {
        match self.query.get("virtual_account") {
            None => Ok(None),
            Some(text) => self.virtual_account(text).await.map(Some),
        }
    }

    /// The instance that the path names, by id or UDI.
    pub(super) async fn instance(&self) -> Result<InstanceId, Problem> {
        let text = self.part("instance").to_owned();
        let found = self.api.service.read(move |domain, _| domain.find_instance(&text)).await?;
        found.ok_or_else(|| Problem::missing("product instance", self.part("instance")))
    }
}

/// Whether a body is what types alone would let pass: an object, members that are objects or texts and no lists of their
/// values, numbers that a database holds.
fn checked(body: &Value) -> Result<(), Problem> {
    let Value::Object(members) = body else { return Err(Problem::bad("the body is not a JSON object")) };
    for name in ["overage", "tier"] {
        if members.get(name).is_some_and(Value::is_array) {
            return Err(Problem::field(name, "a list", "an object"));
        }
    }
    if has_huge_number(body) {
        return Err(Problem::bad(format!("a number above {}", i64::MAX)));
    }
    Ok(())
}

/// Whether any number in it is above what 63 bits hold: no database holds those.
pub(super) fn has_huge_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|number| i64::try_from(number).is_err()),
        Value::Array(items) => items.iter().any(has_huge_number),
        Value::Object(members) => members.values().any(has_huge_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn show(reply: OperatorReply) -> Result<Reply, Problem> {
    let with = |view: Value, name: &str, secret: Option<&str>| {
        let mut view = view;
        if let (Some(fields), Some(secret)) = (view.as_object_mut(), secret) {
            fields.insert(name.to_owned(), secret.into());
        }
        Reply::Json(view)
    };
    let failed = |error: serde_json::Error| Problem::failed(error.to_string());
    match reply {
        OperatorReply::Done => Ok(Reply::Empty),
        OperatorReply::Account(view) => shown(&view),
        OperatorReply::VirtualAccount(view) => shown(&view),
        OperatorReply::Tag(view) => shown(&view),
        OperatorReply::Lot(view) => shown(&view),
        OperatorReply::Instance(view) => shown(&view),
        OperatorReply::Alert(view) => shown(&view),
        OperatorReply::User(view) => shown(&view),
        OperatorReply::Report(view) => shown(&view),
        OperatorReply::Token(view, secret) => {
            let view = serde_json::to_value(view).map_err(failed)?;
            Ok(with(view, "secret", secret.as_ref().map(|secret| secret.reveal())))
        }
        OperatorReply::ApiKey(view, secret) => {
            let view = serde_json::to_value(view).map_err(failed)?;
            Ok(with(view, "secret", secret.as_ref().map(|secret| secret.reveal())))
        }
    }
}
