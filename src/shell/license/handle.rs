//! How the rest of the sidecar speaks with the licensing driver: questions and commands over a channel, figures in a cell.
//!
//! What must stay true: nobody who asks waits longer than [`PATIENCE`] for a driver that is not there; nothing of the fast
//! path asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use super::status::LicenseStatus;
use super::transport::{PROBE_TIME_MAX, ProbeReport};
use crate::license::agent::{Command, CommandRefused, Done};
use crate::license::view::ViewInput;
use crate::shell::config::{Config, Secrets};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

/// How long somebody waits for the driver.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How many requests may wait.
pub(super) const REQUESTS_MAX: usize = 64;

type Answer<T> = oneshot::Sender<T>;

/// Something to be done with the agent's state.
type Look = Box<dyn FnOnce(&ViewInput<'_>) + Send>;

/// What the driver is asked.
pub(super) enum Request {
    Command(Box<Command>, Answer<Result<Done, CommandRefused>>),
    Look(Look),
    Probe(Answer<ProbeReport>),
    Backup(Answer<Result<String, CommandRefused>>),
    Restore(Vec<u8>, Answer<Result<Done, CommandRefused>>),
    Reconfigure(Box<(Config, Secrets)>, Answer<Result<(), String>>),
    Stop(Answer<()>),
    /// What fails from now on, once.
    #[cfg(test)]
    Defects(super::driver::Defects),
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Command(..) => "Command",
            Self::Look(..) => "Look",
            Self::Probe(..) => "Probe",
            Self::Backup(..) => "Backup",
            Self::Restore(..) => "Restore",
            Self::Reconfigure(..) => "Reconfigure",
            Self::Stop(..) => "Stop",
            #[cfg(test)]
            Self::Defects(..) => "Defects",
        })
    }
}

/// The driver doesn't answer. What it set last stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the licensing agent doesn't answer; calls are judged as before, and it is started again (alarm AGENT_STALE)")]
pub struct NotRunning;

impl From<NotRunning> for CommandRefused {
    fn from(error: NotRunning) -> Self {
        Self { code: "agent_stale", text: error.to_string() }
    }
}

/// The licensing driver, from outside.
#[derive(Debug, Default)]
pub struct LicenseHandle {
    status: ArcSwapOption<LicenseStatus>,
    requests: ArcSwapOption<mpsc::Sender<Request>>,
    /// Held by who changes the overrides.
    pub overrides: tokio::sync::Mutex<()>,
    /// When the driver last went round, in nanoseconds of the boot clock.
    beat: AtomicU64,
}

impl LicenseHandle {
    /// Licensing in figures; `None` until it started.
    #[must_use]
    pub fn status(&self) -> Option<Arc<LicenseStatus>> {
        self.status.load_full()
    }

    /// Puts new figures in place.
    pub(in crate::shell) fn set_status(&self, status: LicenseStatus) {
        self.status.store(Some(Arc::new(status)));
    }

    /// Says who answers from now on.
    pub(super) fn connect(&self, requests: mpsc::Sender<Request>) {
        self.requests.store(Some(Arc::new(requests)));
    }

    /// The driver went round.
    pub(super) fn beat(&self, now: Tick) {
        // Relaxed: a time guards nothing.
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// When it did last.
    #[must_use]
    pub fn last_beat(&self) -> Tick {
        Tick(self.beat.load(Ordering::Relaxed))
    }

    pub(super) async fn send(&self, request: Request) -> Result<(), NotRunning> {
        let requests = self.requests.load_full().ok_or(NotRunning)?;
        requests.send_timeout(request, PATIENCE).await.map_err(|_| NotRunning)
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request, within: Duration) -> Result<T, NotRunning> {
        let (answer, answered) = oneshot::channel();
        self.send(request(answer)).await?;
        tokio::time::timeout(within, answered).await.map_err(|_| NotRunning)?.map_err(|_| NotRunning)
    }

    /// Has a command carried out. When this returns, what it did is on disk.
    ///
    /// # Errors
    /// If it is refused, or nobody answers.
    pub async fn command(&self, command: Command) -> Result<Done, CommandRefused> {
        self.ask(|answer| Request::Command(Box::new(command), answer), PATIENCE).await?
    }

    /// Looks at the agent's state.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ViewInput<'_>) -> T + Send + 'static,
    ) -> Result<T, NotRunning> {
        let seen = |answer: Answer<T>| {
            Request::Look(Box::new(move |input: &ViewInput<'_>| {
                // Who asked may have gone.
                let _ = answer.send(look(input));
            }))
        };
        self.ask(seen, PATIENCE).await
    }

    /// Walks the way to the manager.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn probe(&self) -> Result<ProbeReport, NotRunning> {
        self.ask(Request::Probe, PROBE_TIME_MAX + Duration::from_secs(2)).await
    }

    /// A backup, as text.
    ///
    /// # Errors
    /// If it cannot be made, or nobody answers.
    pub async fn backup(&self) -> Result<String, CommandRefused> {
        self.ask(Request::Backup, PATIENCE).await?
    }

    /// Takes what a backup says.
    ///
    /// # Errors
    /// If it is none, or nobody answers.
    pub async fn restore(&self, backup: Vec<u8>) -> Result<Done, CommandRefused> {
        self.ask(|answer| Request::Restore(backup, answer), PATIENCE).await?
    }

    /// Puts a new configuration in force, with the gate's settings that follow from it.
    ///
    /// # Errors
    /// If the agent or the gate refuses it, or nobody answers; then nothing changed.
    pub async fn reconfigure(&self, config: &Config, secrets: &Secrets) -> Result<(), String> {
        let both = Box::new((config.clone(), secrets.clone()));
        self.ask(|answer| Request::Reconfigure(both, answer), PATIENCE).await.map_err(|error| error.to_string())?
    }

    /// Ends it in order, within this time.
    pub async fn stop(&self, within: Duration) -> bool {
        self.ask(Request::Stop, within).await.is_ok()
    }
}
