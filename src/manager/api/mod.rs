//! HTTP: the agents' API and the operators'.
//!
//! | part | what it does |
//! |---|---|
//! | `connection` | accepts, bounds, TLS, timeouts |
//! | `agent` | signed messages in, signed answers out |
//! | `auth` | who asks: API keys, sessions, the admin socket |
//! | `operation`, `operations` | the table of all operations of the operator API, from which router and document are made |
//! | `openapi` | the document of both |
//!
//! It decides nothing about licenses: the domain does. What must stay true: every path but health, login and the agents'
//! asks who it is; a role is checked before a handler runs, and by the domain again.

mod agent;
mod auth;
mod connection;
mod limiter;
mod messages;
mod metrics;
mod openapi;
mod operation;
mod operations;
mod patient;
mod problem;
mod router;
mod schemas;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) use connection::{Door, PerAddress};
pub(crate) use router::router;

use self::auth::Logins;
use self::limiter::RateLimiter;
use self::metrics::RequestMetrics;
use super::domain::{
    Actor, KeyMeta, KeyRotation, KeyState, NewApiKey, OperatorCommand, OperatorReply, PageRequest, Role,
};
use super::pki::{PeerIdentity, Signing, SigningKeys, TlsIdentity};
use super::service::{Observer, Service};
use crate::protocol::Entropy;
use crate::shell::clock::Clock;
use crate::shell::notices::Notifier;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// From where; `None` on the admin socket.
    pub(crate) address: Option<IpAddr>,
    /// What it showed in TLS; not verified.
    pub(crate) identity: PeerIdentity,
    /// It came by the admin socket.
    pub(crate) local: bool,
    /// Somebody said over this connection who they are, and was believed.
    pub(crate) known: Arc<AtomicBool>,
}

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Api {
    service: Service,
    keys: SigningKeys,
    tls: TlsIdentityShared,
    logins: Logins,
    registrations: RateLimiter,
    guesses: RateLimiter,
    key_guesses: RateLimiter,
    /// One backup, or one verification of the audit log, at a time.
    slow: Arc<tokio::sync::Mutex<()>>,
    requests: RequestMetrics,
    clock: Clock,
    data_dir: PathBuf,
    notifier: Notifier,
    observer: Observer,
    source: String,
}

type TlsIdentityShared = std::sync::Arc<TlsIdentity>;

/// How the API is set up.
#[derive(Debug)]
pub(crate) struct ApiSettings {
    pub(crate) registrations_per_minute: u32,
    pub(crate) logins_per_minute: u32,
    pub(crate) data_dir: PathBuf,
    /// Where alerts are told to.
    pub(crate) notifier: Notifier,
    /// Who tells of them.
    pub(crate) observer: Observer,
    /// In which name.
    pub(crate) source: String,
}

impl Api {
    /// The API over a running service.
    pub(crate) fn new(
        service: Service,
        keys: SigningKeys,
        tls: TlsIdentityShared,
        entropy: Entropy,
        settings: ApiSettings,
    ) -> Result<Self, String> {
        Ok(Self {
            service,
            keys,
            tls,
            logins: Logins::new(entropy).map_err(|problem| format!("{problem:?}"))?,
            registrations: RateLimiter::per_minute(settings.registrations_per_minute),
            guesses: RateLimiter::per_minute(settings.logins_per_minute),
            key_guesses: RateLimiter::per_minute(settings.logins_per_minute),
            slow: Arc::default(),
            requests: RequestMetrics::default(),
            clock: Clock,
            data_dir: settings.data_dir,
            notifier: settings.notifier,
            observer: settings.observer,
            source: settings.source,
        })
    }

    /// Where alerts are told to.
    pub(crate) const fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// The service.
    pub(crate) const fn service(&self) -> &Service {
        &self.service
    }

    /// Notes the signing keys in the account's records, for people and the audit log. What signs is in the key files.
    pub(crate) async fn note_keys(&self, actor: Actor) -> Result<(), String> {
        let signing = self.keys.current();
        let held: Vec<KeyMeta> =
            self.service.read(|domain, _| domain.keys().cloned().collect()).await.map_err(|error| error.to_string())?;
        for meta in metas(&signing, self.service.now()) {
            let same = |held: &KeyMeta| held.kid == meta.kid && held.state == meta.state;
            if held.iter().any(same) {
                continue;
            }
            let done = self.service.operator(actor.clone(), OperatorCommand::PutKey(meta)).await;
            done.map_err(|error| error.to_string())?.map_err(|refused| refused.to_string())?;
        }
        Ok(())
    }

    /// Adds an issuer key if its time has come and the root's key is here. `Some`: what happened, for the log.
    pub(crate) async fn rotate_if_due(&self) -> Option<Result<String, String>> {
        let now = self.service.now();
        if !self.keys.current().rotation_due(now) {
            return None;
        }
        Some(match self.keys.rotate(now) {
            Ok(signing) => {
                let noted = self.note_keys(Actor::system()).await;
                noted.map(|()| format!("issuer key {} signs from now on", signing.issuer_id()))
            }
            Err(error) => Err(error.to_string()),
        })
    }

    /// Raises or ends the alert about the key that signs. To be called now and then, and after each change of the keys.
    pub(crate) async fn tell_of_rotation(&self) -> Result<(), String> {
        let signing = self.keys.current();
        let Some(ends) = signing.issuer_ends() else { return Ok(()) };
        let keys = KeyRotation { due_at: signing.rotation_due_at(), ends, root_here: self.keys.root_is_online() };
        let told = self.service.write(move |domain, now, _| ((), domain.tell_of_rotation(keys, now)));
        told.await.map_err(|error| error.to_string())
    }

    /// Does something slow in a task of its own: who asked may go away, and it still comes to its end. One at a time.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, problem::Problem> {
        let Ok(alone) = Arc::clone(&self.slow).try_lock_owned() else {
            let told = "a backup or a verification of the audit log is under way";
            let problem = problem::Problem::new(axum::http::StatusCode::CONFLICT, "not now", told);
            return Err(problem.later(10));
        };
        let task = tokio::spawn(async move {
            let done = work.await;
            drop(alone);
            done
        });
        task.await.map_err(|error| problem::Problem::hidden(&error))
    }

    /// Notes that a signing key was revoked.
    async fn note_revoked(&self, actor: Actor, id: &crate::protocol::KeyId) -> Result<(), String> {
        let kid = id.0.clone();
        let held = self.service.read(move |domain, _| domain.keys().find(|key| key.kid == kid).cloned()).await;
        let Some(key) = held.map_err(|error| error.to_string())? else { return Ok(()) };
        let command = OperatorCommand::PutKey(KeyMeta { state: KeyState::Revoked, ..key });
        let done = self.service.operator(actor, command).await;
        done.map_err(|error| error.to_string())?.map_err(|refused| refused.to_string())?;
        Ok(())
    }

    /// Until when the issuer key signs, in milliseconds since 1970.
    pub(crate) fn issuer_ends(&self) -> Option<crate::units::UnixMillis> {
        self.keys.current().issuer_ends()
    }

    /// Whether there is neither a user nor an API key.
    pub(crate) async fn nobody_may_log_in(&self) -> Result<bool, String> {
        let one = PageRequest { cursor: None, limit: 1 };
        let nobody = self.service.read(move |domain, _| {
            let users = domain.users(&one).is_ok_and(|page| page.items.is_empty());
            users && domain.api_keys(&one).is_ok_and(|page| page.items.is_empty())
        });
        nobody.await.map_err(|error| error.to_string())
    }

    /// At the very first start, when nobody can get in yet: an owner's API key, to be shown once.
    pub(crate) async fn first_owner_key(&self) -> Result<Option<zeroize::Zeroizing<String>>, String> {
        if !self.nobody_may_log_in().await? {
            return Ok(None);
        }
        let key = NewApiKey { name: "first run".to_owned(), role: Role::Owner, days: Some(7) };
        let reply = self.service.operator(Actor::system(), OperatorCommand::CreateApiKey(key)).await;
        let reply = reply.map_err(|error| error.to_string())?.map_err(|refused| refused.to_string())?;
        let OperatorReply::ApiKey(_, Some(secret)) = reply else {
            return Err("an API key was asked for, and the answer is something else".to_owned());
        };
        Ok(Some(zeroize::Zeroizing::new(secret.reveal().to_owned())))
    }
}

fn metas(signing: &Signing, now: crate::units::UnixMillis) -> Vec<KeyMeta> {
    let active = signing.issuer_id();
    let of = |key: &crate::protocol::SignedKey| KeyMeta {
        kid: key.key.id().0,
        key: key.key,
        key_use: Some(key.key_use),
        not_before: key.not_before,
        not_after: key.not_after,
        state: if key.key.id() == active { KeyState::Active } else { KeyState::Retiring },
        created_at: now,
    };
    signing.key_set().keys.iter().map(of).collect()
}
