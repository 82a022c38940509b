//! Starts the manager, watches over it, and stops it in order.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::alerting;
use super::config::{Database, ManagerConfig};
use crate::manager::api::{Api, ApiSettings, Door, PerAddress, router};
use crate::manager::domain::{Actor, OperatorCommand, Setting};
use crate::manager::pki::{PKI_DIR, PkiError, SigningKeys, TlsIdentity, any_certificate, os_entropy};
use crate::manager::service::{Observer, Service, ServiceConfig, StartError, Unavailable};
use crate::manager::store::{DatabaseUrl, DatabaseUrlError, Store, StoreError};
use crate::shell::clock::Clock;
use crate::shell::notices::Notifier;
use crate::shell::notify;
use crate::shell::store::{StateDir, StateDirError, read_bounded};
use crate::shell::telemetry::log::{self, LogError};
use crate::units::UnixMillis;

/// The setting that says which signing root the instances of the database trust.
const ROOT_SETTING: &str = "signing.root";

/// The embedded database within the data directory.
const DATABASE_FILE: &str = "manager.db";

/// Places beside those of TCP for the admin socket.
const ADMIN_PLACES: usize = 16;

/// How long the last notices may take.
const LAST_NOTICES: Duration = Duration::from_secs(1);

const LOG_FLUSH: Duration = Duration::from_secs(2);
/// How often certificates and keys are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(3_600);

/// Why the manager did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// Keys or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The database's address.
    #[error("database: {0}")]
    Address(#[from] DatabaseUrlError),
    /// A file that should hold the database's address.
    #[error("database_file: {} {reason}; accepted: a file whose first line is postgres://USER:PASSWORD@HOST/DATABASE", path.display())]
    AddressFile {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// The service.
    #[error(transparent)]
    Service(#[from] StartError),
    /// The signing keys here are not those that the database's instances trust.
    #[error(
        "the database holds {instances} product instances that trust the signing root {known}, and {here}. Copy the directory \
         pki of the manager that had this database to {}; or start with --accept-new-root, after which every instance \
         must register anew",
        pki.display()
    )]
    OtherRoot {
        /// How many there are.
        instances: u64,
        /// Which root they trust, as far as it is known.
        known: String,
        /// What is here instead.
        here: String,
        /// Where the keys belong.
        pki: PathBuf,
    },
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A listener.
    #[error("cannot listen on {what}: {source}")]
    Listen {
        /// Where.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Threads, timers or signals.
    #[error("the operating system does not give {what}: {source}")]
    System {
        /// What it should give.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// Something that is asked of the service at the start.
    #[error("{0}")]
    First(String),
    /// The service's task ended by itself.
    #[error("the service ended: {0}")]
    Ended(String),
}

impl ServeError {
    /// The process's exit code: 64 for what the configuration must correct, 1 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::AddressFile { .. } | Self::Log(LogError::Level { .. }) => 64,
            Self::Log(LogError::Installed | LogError::Thread(_))
            | Self::StateDir(_)
            | Self::Pki(_)
            | Self::Database(_)
            | Self::Service(_)
            | Self::OtherRoot { .. }
            | Self::Tls(_)
            | Self::Listen { .. }
            | Self::System { .. }
            | Self::First(_)
            | Self::Ended(_) => 1,
        }
    }
}

/// The database that a configuration names.
///
/// # Errors
/// If it names none.
pub fn database_url(config: &ManagerConfig) -> Result<DatabaseUrl, ServeError> {
    match &config.database {
        Database::Embedded => Ok(DatabaseUrl::sqlite(config.data_dir.join(DATABASE_FILE))),
        Database::Url(url) => Ok(url.clone()),
        Database::File(path) => {
            let wrong = |reason: String| ServeError::AddressFile { path: path.clone(), reason };
            let bytes = read_bounded(path, 64 * 1024).map_err(|error| wrong(error.to_string()))?;
            let bytes = zeroize::Zeroizing::new(bytes.ok_or_else(|| wrong("does not exist".to_owned()))?);
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is no text".to_owned()))?;
            let line = text.lines().next().map(str::trim).filter(|line| !line.is_empty());
            Ok(line.ok_or_else(|| wrong("is empty".to_owned()))?.parse()?)
        }
    }
}

/// Runs the manager until a signal stops it.
///
/// # Errors
/// If it cannot start (then nothing listens), or its database is taken over.
pub fn serve(config: ManagerConfig, accept_new_root: bool) -> Result<(), ServeError> {
    let log = log::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("callgate-manager")
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { what: "threads", source })?;
    let outcome = runtime.block_on(run(config, accept_new_root, &log));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Where standard error takes nothing, nobody can be told that.
    let _ = log.flush(LOG_FLUSH);
    outcome
}

struct Running {
    api: Arc<Api>,
    tls: Arc<TlsIdentity>,
    state: StateDir,
    service: JoinHandle<Result<(), StoreError>>,
    door: Door,
    accepting: Vec<JoinHandle<()>>,
    telling: JoinHandle<()>,
    places: u32,
    socket: PathBuf,
}

async fn run(config: ManagerConfig, accept_new_root: bool, log: &log::LogHandle) -> Result<(), ServeError> {
    let listen = |kind| signal(kind).map_err(|source| ServeError::System { what: "signals", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let mut running = start(&config, accept_new_root, log).await?;
    let mut hourly = interval(LOOK_AFTER);
    hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok("SIGTERM"),
            _ = interrupt.recv() => break Ok("SIGINT"),
            _ = hangup.recv() => running.look_after().await,
            _ = hourly.tick() => running.look_after().await,
            _ = seconds.tick() => notify::alive(),
            ended = &mut running.service => break Err(ServeError::Ended(match ended {
                Ok(Ok(())) => "without a reason".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            })),
        }
    };
    match outcome {
        Ok(signal) => {
            tracing::info!(signal, "stopping");
            running.stop(config.drain_time.duration()).await;
            Ok(())
        }
        Err(error) => {
            running.door.stop.cancel();
            running.state.remove_addresses();
            Err(error)
        }
    }
}

async fn start(config: &ManagerConfig, accept_new_root: bool, log: &log::LogHandle) -> Result<Running, ServeError> {
    // Whatever is made here, by whichever library, is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let state = StateDir::open(&config.data_dir)?;
    let now = Clock.wall();
    let tls = Arc::new(TlsIdentity::open(state.path(), config.certificate(), now)?);
    let store = Store::open(database_url(config)?, now).await?;
    tracing::info!(database = store.kind().name(), "the database is open");
    let (observer, changes) = Observer::new();
    let settings = ServiceConfig {
        account_name: config.account.clone(),
        observer: Some(observer.clone()),
        ..ServiceConfig::default()
    };
    let clock = Arc::new(|| Clock.wall());
    let (service, task) = Service::start(store, settings, clock, os_entropy()?).await?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let notifier = Notifier::default();
    notifier.set(config.destinations.clone(), config.alerts_log, false);
    let source = format!("manager {}", config.host_name);
    let telling = alerting::run(changes, service.clone(), notifier.clone(), source.clone(), config.damping.duration());
    let telling = tokio::spawn(telling);
    let keys = signing_keys(&service, &state.path().join(PKI_DIR), accept_new_root, now).await?;
    let server = tls_config(&tls, keys.current().root_der())?;
    let api = Api::new(
        service,
        keys,
        Arc::clone(&tls),
        os_entropy()?,
        ApiSettings {
            registrations_per_minute: config.registrations_per_minute,
            logins_per_minute: config.logins_per_minute,
            data_dir: state.path().to_owned(),
            notifier,
            observer,
            source,
        },
    );
    let api = Arc::new(api.map_err(ServeError::First)?);
    api.note_keys(Actor::system()).await.map_err(ServeError::First)?;
    // Standard output that is no terminal is a journal or a file, which is kept and passed on.
    let console = io::stdout().is_terminal();
    let first = if console { api.first_owner_key().await.map_err(ServeError::First)? } else { None };
    if !console && api.nobody_may_log_in().await.map_err(ServeError::First)? {
        tracing::info!(
            "nobody can log in yet over HTTPS; on this host `callgate manager key create NAME --role owner` makes an API key, and \
             `callgate manager user create` a user"
        );
    }

    let places = usize::try_from(config.connections_max).unwrap_or(10_000);
    let door = Door {
        router: router(&api),
        stop: CancellationToken::new(),
        places: Arc::new(Semaphore::new(places)),
        request_time: config.request_time.duration(),
        per_address: PerAddress::new(config.connections_per_address),
    };
    let refused = |what: String| move |source| ServeError::Listen { what, source };
    let tcp = TcpListener::bind(config.listen).await.map_err(refused(config.listen.to_string()))?;
    let address = tcp.local_addr().map_err(refused(config.listen.to_string()))?;
    let socket = config.admin_socket();
    let unix = bind_admin(&socket)?;
    let admin = Door { places: Arc::new(Semaphore::new(ADMIN_PLACES)), ..door.clone() };
    let accepting =
        vec![tokio::spawn(door.clone().tls(tcp, TlsAcceptor::from(Arc::new(server)))), tokio::spawn(admin.unix(unix))];
    let addresses = json!({ "pid": std::process::id(), "https": address.to_string(), "admin": socket });
    if let Err(error) = state.write_addresses(&addresses) {
        tracing::warn!("the file that tells the listening addresses was not written: {error}");
    }
    tracing::info!(https = %address, admin = %socket.display(), "ready");
    // After the lines that are waiting.
    let _ = log.flush(LOG_FLUSH);
    if let Some(secret) = first {
        tell_first_key(&secret, address, state.path());
    }
    notify::ready(&format!("Serving https://{address}"));
    let places = config.connections_max;
    Ok(Running { api, tls, state, service: task, door, accepting, telling, places, socket })
}

/// The signing keys, if they are those that the database's instances trust. An agent trusts one root for as long as it is
/// registered: with another one, whatever this manager says would be refused by all of them, and nobody would know why.
async fn signing_keys(
    service: &Service,
    pki: &Path,
    accept_new_root: bool,
    now: UnixMillis,
) -> Result<SigningKeys, ServeError> {
    let look = service.read(|domain, _| {
        let held: u64 = domain.stats().instances.iter().map(|(_, count)| count).sum();
        let issuers: Vec<String> = domain.keys().map(|key| key.kid.clone()).collect();
        (held, domain.setting(ROOT_SETTING).map(str::to_owned), issuers)
    });
    let unavailable = |error: Unavailable| ServeError::First(error.to_string());
    let (instances, known, issuers) = look.await.map_err(unavailable)?;
    let refuse = |here: String| ServeError::OtherRoot {
        instances,
        known: known.clone().unwrap_or_else(|| "of another place".to_owned()),
        here,
        pki: pki.to_owned(),
    };
    let strict = instances > 0 && !accept_new_root;
    if strict && !SigningKeys::are_there(pki) {
        return Err(refuse("there are no signing keys here".to_owned()));
    }
    let (keys, made) = SigningKeys::open(pki, now)?;
    let signing = keys.current();
    let root = signing.root().id().to_string();
    let same = match &known {
        Some(known) => *known == root,
        // Written before the root was noted: the issuer keys were.
        None => signing.key_set().keys.iter().any(|key| issuers.contains(&key.key.id().0)),
    };
    if strict && !same {
        return Err(refuse(format!("the root here is {root}")));
    }
    if made {
        tracing::info!(%root, issuer = %signing.issuer_id(), "first start here: signing keys were made");
    }
    if !same && instances > 0 {
        tracing::warn!(%root, instances, "another signing root was accepted: every product instance must register anew");
    }
    if known.as_ref() != Some(&root) {
        let note = OperatorCommand::PutSetting(Setting { name: ROOT_SETTING.to_owned(), value: root });
        let noted = service.operator(Actor::system(), note).await.map_err(unavailable)?;
        noted.map_err(|refused| ServeError::First(refused.to_string()))?;
    }
    Ok(keys)
}

fn tls_config(tls: &Arc<TlsIdentity>, root_der: &[u8]) -> Result<ServerConfig, ServeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = any_certificate(root_der, provider.signature_verification_algorithms);
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> = Arc::<TlsIdentity>::clone(tls);
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

/// Whoever may open it is the owner: 0600, in a directory that is 0700 from its making on.
fn bind_admin(socket: &Path) -> Result<UnixListener, ServeError> {
    let refused = |source| ServeError::Listen { what: socket.display().to_string(), source };
    // The data directory is this process's alone: a socket that is there was left by one that is gone.
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let listener = UnixListener::bind(socket).map_err(refused)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(listener)
}

/// Once, on the console alone: a log is kept and passed on.
fn tell_first_key(secret: &str, address: SocketAddr, data_dir: &Path) {
    let text = format!(
        "\n  First start. This owner's API key is shown once, and ends in 7 days:\n\n      {secret}\n\n  \
         HTTPS {address}, its authority for agents and browsers: {}\n  \
         On this host, `callgate manager ...` commands need no key.\n\n",
        data_dir.join(crate::manager::pki::CA_FILE).display()
    );
    // Where there is no console, `callgate manager key create` on this host makes another.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    let _ = io::stdout().lock().flush();
}

impl Running {
    /// Certificates and keys: read again, renewed, rotated.
    async fn look_after(&self) {
        match self.tls.refresh(Clock.wall()) {
            Ok(true) => tracing::info!("another TLS certificate is shown from now on"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the TLS certificate was not renewed; the present one is shown further")
            }
        }
        match self.api.rotate_if_due().await {
            None => {}
            Some(Ok(done)) => tracing::info!("{done}"),
            Some(Err(error)) => {
                let ends = self.api.issuer_ends().map_or_else(|| "already".to_owned(), |at| at.0.to_string());
                tracing::error!(%error, ends, "the issuer key's time comes to its end and it was not rotated");
            }
        }
        if let Err(error) = self.api.tell_of_rotation().await {
            tracing::warn!(error, "the alert about the issuer key is not up to date");
        }
    }

    async fn stop(mut self, drain: Duration) {
        notify::stopping("Finishing answers");
        self.door.stop.cancel();
        for task in self.accepting.drain(..) {
            // It ends at once, or ended before.
            let _ = task.await;
        }
        if timeout(drain, self.door.places.acquire_many(self.places)).await.is_err() {
            tracing::warn!("some clients did not end in time; their connections are cut");
        }
        self.api.service().stop().await;
        self.api.notifier().stop(LAST_NOTICES).await;
        self.telling.abort();
        match (&mut self.service).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the service ended with an error"),
            Err(error) => tracing::error!(%error, "the service's task broke"),
        }
        // Not there, or not removable: the next start replaces it.
        let _ = std::fs::remove_file(&self.socket);
        self.state.remove_addresses();
        tracing::info!("stopped");
    }
}
