//! What a sidecar tells of itself, over its admin socket, as any command asks it.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::cli::{AdminArgs, Candidates, Client, Failure};
use crate::shell::config::Inputs;
use crate::units::CALLS_PER_SECOND_PER_LICENSE;

/// Asks one sidecar.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Client>);

/// A sidecar's own figures. Calls per second, but `live` and `admitted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) limit: Option<u64>,
    pub(super) lent: u64,
    pub(super) borrowed: u64,
    /// Calls that are live.
    pub(super) live: u64,
    /// Calls admitted since its start, whoever asked.
    pub(super) admitted: u64,
}

/// A number somewhere in a document.
pub(super) fn number(document: &Value, pointer: &str) -> Option<u64> {
    document.pointer(pointer).and_then(Value::as_u64)
}

impl Watch {
    /// # Errors
    /// If nobody answers there.
    pub(super) fn connect(admin: &Path) -> Result<Self, Failure> {
        let args = AdminArgs { admin: Some(admin.to_owned()), config: None };
        Ok(Self(Arc::new(Client::connect(&Candidates::find(&args, Inputs::default())?)?)))
    }

    /// Whether the manager has authorized it; a refusal is a failure.
    pub(super) fn authorized(&self) -> Result<Option<()>, Failure> {
        let license = self.0.get("/v1/license")?;
        Ok((license["state"] == "authorized").then_some(()))
    }

    /// `GET /v1/cluster`
    pub(super) fn cluster(&self) -> Result<Value, Failure> {
        self.0.get("/v1/cluster")
    }

    /// Licenses of calls per second that it holds, once it tells.
    pub(super) fn home(&self) -> Result<Option<u32>, Failure> {
        let cluster = self.cluster()?;
        let home = rate(&cluster).and_then(|rate| number(rate, "/home")).and_then(|home| u32::try_from(home).ok());
        Ok(home.filter(|home| *home > 0))
    }

    /// How it is.
    pub(super) fn look(&self) -> Result<Seen, Failure> {
        let (status, cluster) = (self.0.get("/v1/status")?, self.cluster()?);
        let limits = status["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
        let limit = limits.iter().find(|limit| limit["name"] == "cps");
        let sum = |direction: &str| {
            let loans = rate(&cluster).and_then(|rate| rate.get(direction)).and_then(Value::as_object);
            let licenses: u64 = loans.map(|loans| loans.values().filter_map(Value::as_u64).sum()).unwrap_or_default();
            licenses * u64::from(CALLS_PER_SECOND_PER_LICENSE)
        };
        Ok(Seen {
            limit: limit.and_then(|limit| number(limit, "/limit")),
            lent: sum("lent"),
            borrowed: sum("borrowed"),
            live: number(&status, "/calls/live").unwrap_or(0),
            admitted: number(&status, "/admitted_total").unwrap_or(0),
        })
    }
}

/// What is shared of calls per second.
fn rate(cluster: &Value) -> Option<&Value> {
    cluster["resources"].as_array()?.iter().find(|resource| resource["resource"] == "cps")
}
