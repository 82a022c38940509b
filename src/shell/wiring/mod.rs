//! Start order, reload, drain: carries out what the pure modules say.
//!
//! 1. the log; 2. exposure checked, before anything is touched; 3. the state directory, for this process alone; 4. the
//!    hash key, the evaluation account; 5. the journal, read back into the gate; 6. the verdict; 7. the cluster, whose ledger
//!    says what of this node's licenses others may use; 8. the front ends; 9. ready.
//!
//! A stop goes the other way: refuse new calls, wait until proxies saw that, close the front ends, save everything.
//!
//! What must stay true: no front end answers before the verdict stands and every journaled call counts again; a failure
//! of the slow path changes no verdict.

mod banner;
mod clustering;
mod journaling;
mod listen;
mod notifying;
mod reload;
mod start;
mod supervise;

use std::io;
use std::time::Duration;

pub use self::notifying::Pages;
pub use crate::shell::store::{StateDir, StateDirError};

use self::start::Sidecar;
use self::supervise::Signals;
use crate::admission::Mode;
use crate::shell::config::{Config, Loaded};
use crate::shell::context::Context;
use crate::shell::journal::JournalError;
use crate::shell::license::driver::OpenError;
use crate::shell::listeners::{ExposureError, StartError};
use crate::shell::notify;
use crate::shell::store::StoreError;
use crate::shell::telemetry::log::{self, LogError, LogHandle};
use crate::shell::telemetry::{AlarmId, Raise, Severity};

/// How long the last log lines may take to be written.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// Why the sidecar did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that others can reach, without a secret.
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A small durable file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What licensing keeps.
    #[error(transparent)]
    Licensing(#[from] OpenError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] crate::shell::cluster::driver::ClusterError),
    /// The journal.
    #[error("the journal cannot be used: {0}")]
    Journal(#[from] JournalError),
    /// A front end.
    #[error(transparent)]
    Listen(#[from] StartError),
    /// Threads, timers or signals.
    #[error("the operating system does not give {what}: {source}")]
    System {
        /// What it should give.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
    /// A second signal came while it drained.
    #[error("stopped at once by a second signal; what was journaled so far is kept, evaluation loses up to a minute")]
    Interrupted,
}

impl ServeError {
    /// The process's exit code: 64 for what the configuration must correct, 1 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Exposure(_) | Self::Log(LogError::Level { .. }) => 64,
            Self::Log(LogError::Installed | LogError::Thread(_))
            | Self::StateDir(_)
            | Self::Store(_)
            | Self::Licensing(_)
            | Self::Cluster(_)
            | Self::Journal(_)
            | Self::Listen(_)
            | Self::System { .. }
            | Self::Random(_)
            | Self::Interrupted => 1,
        }
    }
}

/// Runs the sidecar until a signal stops it. `pages` writes what commands print, for alarms that it goes along with.
///
/// # Errors
/// If it cannot start (then nothing listens), or a second signal cuts its stop short.
pub fn serve(loaded: Loaded, pages: Pages) -> Result<(), ServeError> {
    let log = log::init(&reload::log_settings(&loaded.config))?;
    let outcome = run(loaded, &log, pages);
    // Where standard error takes nothing, nobody can be told that.
    let _ = log.flush(LOG_FLUSH);
    outcome
}

fn run(loaded: Loaded, log: &LogHandle, pages: Pages) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("callgate-slow")
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { what: "threads for the slow path", source })?;
    let outcome = runtime.block_on(async {
        let signals = Signals::listen()?;
        let sidecar = Sidecar::start(loaded, Some(log.clone()), pages)?;
        supervise::run(sidecar, signals).await
    });
    // A slow client's connection or a blocking task may still be there: nothing waits for it.
    runtime.shutdown_background();
    outcome
}

/// Raises or clears the alarm that says that nothing is refused.
fn tell_mode(context: &Context, config: &Config) {
    let wall = context.clock.wall();
    if config.policy().mode == Mode::Enforce {
        context.alarms.clear(AlarmId::Shadow, "", wall);
        return;
    }
    context.alarms.raise(
        Raise {
            id: AlarmId::Shadow,
            subject: String::new(),
            severity: Severity::Info,
            what: "The sidecar runs in shadow mode.".to_owned(),
            effect: "Every call is admitted; what would be refused is counted by cause.".to_owned(),
            next: "Nothing changes by itself.".to_owned(),
            remedy: "Set admission.mode = \"enforce\" and reload when the counts look right.".to_owned(),
        },
        wall,
    );
}
