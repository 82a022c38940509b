//! The service itself: health, metrics, the document, signing keys, backups.

use std::path::Path;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;

use super::super::operation::{Operation, Reply, shown};
use super::super::problem::{Problem, outward};
use super::super::{Api, metrics, openapi};
use crate::manager::domain::{Actor, OperatorCommand, Role, Setting};
use crate::manager::pki::RotateError;
use crate::manager::service::Readiness;
use crate::protocol::KeyId;
use crate::shell::store::make_private_dir;

/// The directory of backups under the data directory.
const BACKUPS: &str = "backups";
/// The most backups in it.
const BACKUPS_MAX: usize = 100;
/// Where backups are made.
pub(super) const BACKUP_PATH: &str = "/v1/backups";

/// Writes a backup. What an earlier one left half written is removed first: only one runs at a time.
async fn backup(api: Arc<Api>, actor: Actor) -> Result<Reply, Problem> {
    let now = api.service.now();
    let dir = api.data_dir.join(BACKUPS);
    make_private_dir(&dir).map_err(|error| Problem::hidden(&error))?;
    let held = whole_backups(&dir).map_err(|error| Problem::hidden(&error))?;
    if held >= BACKUPS_MAX {
        let told = format!("{} holds {held} backups; take some away", dir.display());
        return Err(Problem::new(StatusCode::CONFLICT, "there is no room", told));
    }
    let file = dir.join(format!("callgate-manager-{}.backup", now.0));
    let summary = match api.service.history().backup(&file, now).await {
        Ok(summary) => summary,
        Err(error) => {
            // What is half written goes; why it failed is what matters.
            let _ = whole_backups(&dir);
            return Err(Problem::hidden(&error));
        }
    };
    // A command of the domain writes it into the audit log.
    let note = Setting { name: "backup.last".to_owned(), value: now.0.to_string() };
    let actor = Actor { role: Role::Owner, ..actor };
    api.service.operator(actor, OperatorCommand::PutSetting(note)).await??;
    Ok(Reply::Json(json!({
        "file": file,
        "created_at": summary.created_at,
        "rows": summary.rows.iter().map(|(_, rows)| rows).sum::<u64>(),
        "sha256": summary.sha256,
    })))
}

/// How many backups are in a directory, after what is half written was removed.
fn whole_backups(dir: &Path) -> std::io::Result<usize> {
    let mut whole = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            std::fs::remove_file(&path)?;
        } else {
            whole += 1;
        }
    }
    Ok(whole)
}

fn may_not_rotate(error: &RotateError) -> Problem {
    let told = error.to_string();
    match error {
        RotateError::RootOffline { .. } | RotateError::OtherRoot { .. } => {
            Problem::new(StatusCode::CONFLICT, "the root must sign", told)
        }
        RotateError::NoSuchKey { .. } => Problem::new(StatusCode::NOT_FOUND, "no such object", told),
        RotateError::Full => Problem::new(StatusCode::CONFLICT, "there is no room", told),
        RotateError::Pki(error) => Problem::hidden(error),
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/healthz", "healthz", |_| Box::pin(async { Ok(Reply::Json(json!({ "status": "ok" }))) }))
        .says("The process lives")
        .open()
        .answers(200, "@Health"),
    Operation::get("/readyz", "readyz", |ask| {
        Box::pin(async move {
            if ask.api.keys.current().issuer_ended(ask.api.service.now()) {
                let told = "the issuer key's time is over: put the root's key back and rotate";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not available now", told).later(60));
            }
            match ask.api.service.readiness() {
                Readiness::Ready => Ok(Reply::Json(json!({ "status": "ok" }))),
                Readiness::NotReady(why) => Err(why.into()),
            }
        })
    })
    .says("Requests are served and can be written down")
    .open()
    .answers(200, "@Health"),
    Operation::get("/metrics", "metrics", |ask| {
        Box::pin(async move { metrics::page(&ask.api).await.map(Reply::Text) })
    })
    .says("Metrics, in the OpenMetrics text format")
    .answers_text(metrics::CONTENT_TYPE),
    Operation::get("/openapi.json", "openapi", |_| Box::pin(async { shown(openapi::document()) }))
        .says("This document")
        .answers(200, "any"),
    Operation::get("/v1/status", "status", |ask| {
        Box::pin(async move {
            let api = &ask.api;
            let stats = api.service.read(|domain, _| domain.stats()).await?;
            let readiness = match api.service.readiness() {
                Readiness::Ready => None,
                Readiness::NotReady(why) => Some(outward(&why)),
            };
            let signing = api.keys.current();
            let instances: serde_json::Map<_, _> =
                stats.instances.iter().map(|(state, count)| (state.name().to_owned(), (*count).into())).collect();
            Ok(Reply::Json(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "now": api.service.now(),
                "not_ready": readiness,
                "virtual_accounts": stats.virtual_accounts,
                "instances": instances,
                "tokens": stats.tokens,
                "alerts": stats.alerts,
                "pools_short": stats.pools_short,
                "issuer": signing.issuer_id(),
                "root": signing.root(),
                "root_key_here": api.keys.root_is_online(),
                "rotation_due_at": signing.rotation_due_at(),
                "issuer_ends": signing.issuer_ends(),
                "certificate_ends": api.tls.not_after(),
            })))
        })
    })
    .says("The manager at a glance")
    .answers(200, "@Status"),
    Operation::get("/v1/keys", "keys", |ask| {
        Box::pin(async move {
            let items: Vec<_> =
                ask.api.service.read(|domain, _| domain.keys().cloned().collect::<Vec<_>>()).await?;
            let signing = ask.api.keys.current();
            Ok(Reply::Json(json!({
                "root": { "key": signing.root(), "certificate": signing.root_b64(), "here": ask.api.keys.root_is_online() },
                "key_set_seq": signing.key_set().seq,
                "active": signing.issuer_id(),
                "rotation_due": signing.rotation_due(ask.api.service.now()),
                "rotation_due_at": signing.rotation_due_at(),
                "issuer_ends": signing.issuer_ends(),
                "items": items,
            })))
        })
    })
    .says("Signing keys: the root, the issuer that signs, those before it")
    .answers(200, "@Keys"),
    Operation::post("/v1/keys/rotate", "rotateKeys", |ask| {
        Box::pin(async move {
            let api = ask.api;
            let signing = api.keys.rotate(api.service.now()).map_err(|error| may_not_rotate(&error))?;
            api.note_keys(ask.actor).await.map_err(Problem::failed)?;
            api.tell_of_rotation().await.map_err(Problem::failed)?;
            Ok(Reply::Json(json!({ "active": signing.issuer_id(), "key_set_seq": signing.key_set().seq })))
        })
    })
    .says("Add an issuer key, which signs from now on; those before it stay good until their time is over")
    .needs(Role::Owner)
    .answers(200, "@Rotated"),
    Operation::post("/v1/keys/{key}/revoke", "revokeKey", |ask| {
        Box::pin(async move {
            let id = KeyId(ask.part("key").to_owned());
            let signing = ask.api.keys.revoke(&id, ask.api.service.now()).map_err(|error| may_not_rotate(&error))?;
            ask.api.note_keys(ask.actor.clone()).await.map_err(Problem::failed)?;
            ask.api.note_revoked(ask.actor, &id).await.map_err(Problem::failed)?;
            ask.api.tell_of_rotation().await.map_err(Problem::failed)?;
            Ok(Reply::Json(json!({ "active": signing.issuer_id(), "key_set_seq": signing.key_set().seq })))
        })
    })
    .says("Take an issuer key out of the key set at once; certificates that it signed are reissued as they renew")
    .needs(Role::Owner)
    .answers(200, "@Rotated"),
    Operation::post(BACKUP_PATH, "backup", |ask| {
        Box::pin(async move {
            let (api, actor) = (Arc::clone(&ask.api), ask.actor);
            ask.api.alone(backup(api, actor)).await?
        })
    })
    .says("Write a backup of the database into the manager's data directory; keys are not in it")
    .needs(Role::Owner)
    .answers(201, "@Backup"),
];
