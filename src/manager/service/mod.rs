//! The loop that runs the domain on the store: one task owns both, and many requests share one commit.
//!
//! 1. [`Service::start`] loads the domain, or founds a new account, and spawns the task.
//! 2. Requests come by a bounded queue. The task takes all that wait, up to [`ServiceConfig::batch_max`], applies each to
//!    the domain, commits the changes of all in one transaction, and only then answers (group commit).
//! 3. If the commit fails, the domain is ahead of the store: it is thrown away and loaded again, and everyone in the batch
//!    hears [`Unavailable`]. Until writing works again, writes are refused without being tried; reads go on where there is
//!    something to read. Nobody waits for the trying. But if it is what was to be written that the database does not take, the
//!    requests of the batch are done again one by one, and only the guilty one fails.
//! 4. Between batches: what time brings about, old usage rolled up, in bounded steps; and whether the claim on the database
//!    still holds.
//!
//! It decides nothing. What must stay true: an answer that was given is on the disk; nobody sees a change that isn't; time
//! and randomness come in from outside.

mod core;
mod metrics;
mod observer;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use self::metrics::{ServiceMetrics, SizeHistogram};
pub use self::observer::Observer;

use self::core::Core;
use super::domain::{
    Actor, AgentReply, AgentRequest, Caller, Change, Domain, LoadError, OperatorCommand, OperatorRefused, OperatorReply,
};
use super::store::{History, Retention, Store, StoreError};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// What a new account is called.
    pub account_name: String,
    /// Requests that may wait. More are refused as [`Unavailable::Busy`].
    pub queue_max: usize,
    /// Requests that share one commit at most.
    pub batch_max: usize,
    /// How often what time brings about is looked for.
    pub housekeep_every: Duration,
    /// How often it is tried whether writing works again.
    pub probe_every: Duration,
    /// How often the claim on the database is looked at.
    pub claim_every: Duration,
    /// How long usage is kept.
    pub retention: Retention,
    /// Who is told of alerts and of the audit log, once they are committed.
    pub observer: Option<Observer>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            account_name: "callgate".to_owned(),
            queue_max: 8_192,
            batch_max: 512,
            housekeep_every: Duration::from_secs(30),
            probe_every: Duration::from_secs(1),
            claim_every: Duration::from_secs(5),
            retention: Retention::default(),
            observer: None,
        }
    }
}

/// The wall clock, as whoever starts the service reads it.
pub type WallClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records are no manager's state.
    #[error("the database holds no state of a manager: {0}")]
    Load(#[from] LoadError),
}

/// Why a request got no answer. Nothing that it asked for was done, or (a database lost at the very moment of committing)
/// it is not known: ask again, every request bears it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many requests wait.
    #[error("the license manager is busy: {waiting} requests wait, and no more are accepted; try again in a moment")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The database cannot be written.
    #[error("the license manager cannot write: {reason}")]
    CannotWrite {
        /// The database's words.
        reason: Arc<str>,
        /// It is room that lacks.
        disk_full: bool,
    },
    /// What this one request leads to is something that the database does not take; others are served.
    #[error("the license manager cannot store what this request leads to: {reason}")]
    Unstorable {
        /// The database's words.
        reason: Arc<str>,
    },
    /// The service ended.
    #[error("the license manager is stopping")]
    Stopped,
}

/// Whether requests are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Ready,
    /// Writes are refused, and why.
    NotReady(Unavailable),
}

/// A request, as the loop sees it.
enum Job {
    Write(Box<dyn Write>),
    Read(Box<dyn Read>),
    Stop,
}

/// Something that may change the domain.
trait Write: Send {
    /// Does it, keeps what it came to, and names what is to be committed. On a domain that was loaded again it may be done
    /// again.
    fn apply(&mut self, domain: &mut Domain, now: UnixMillis, entropy: &mut Entropy) -> Vec<Change>;
    /// Answers: with what it came to, if that is committed.
    fn finish(self: Box<Self>, outcome: Result<(), Unavailable>);
}

/// Something that only looks.
trait Read: Send {
    fn look(self: Box<Self>, domain: Result<&Domain, Unavailable>, now: UnixMillis);
}

type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;

struct WriteWith<F, T> {
    apply: F,
    value: Option<T>,
    reply: Reply<T>,
}

struct ReadWith<F, T> {
    look: F,
    reply: Reply<T>,
}

impl<F, T> Write for WriteWith<F, T>
where
    F: FnMut(&mut Domain, UnixMillis, &mut Entropy) -> (T, Vec<Change>) + Send,
    T: Send + 'static,
{
    fn apply(&mut self, domain: &mut Domain, now: UnixMillis, entropy: &mut Entropy) -> Vec<Change> {
        let (value, changes) = (self.apply)(domain, now, entropy);
        self.value = Some(value);
        changes
    }

    fn finish(self: Box<Self>, outcome: Result<(), Unavailable>) {
        let Self { value, reply, .. } = *self;
        answer(reply, outcome.and_then(|()| value.ok_or(Unavailable::Stopped)));
    }
}

impl<F, T> Read for ReadWith<F, T>
where
    F: FnOnce(&Domain, UnixMillis) -> T + Send,
    T: Send,
{
    fn look(self: Box<Self>, domain: Result<&Domain, Unavailable>, now: UnixMillis) {
        let Self { look, reply } = *self;
        answer(reply, domain.map(|domain| look(domain, now)));
    }
}

fn answer<T>(reply: Reply<T>, value: Result<T, Unavailable>) {
    // Who asked may have gone away meanwhile.
    let _gone = reply.send(value);
}

/// Where requests go. Clones go to the same loop.
#[derive(Clone)]
pub struct Service {
    sender: mpsc::Sender<Job>,
    readiness: watch::Receiver<Readiness>,
    metrics: Arc<ServiceMetrics>,
    history: History,
    clock: WallClock,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Service").field("readiness", &*self.readiness.borrow()).finish_non_exhaustive()
    }
}

impl Service {
    /// Loads the domain from the store, or founds a new account in an empty one, and spawns the loop. The handle's value
    /// says why the loop ended; an error there (another manager took the database over) means that the process must end.
    ///
    /// # Errors
    /// If the store cannot be read or written, or holds no manager's state.
    pub async fn start(
        mut store: Store,
        config: ServiceConfig,
        clock: WallClock,
        mut entropy: Entropy,
    ) -> Result<(Self, JoinHandle<Result<(), StoreError>>), StartError> {
        let domain = core::load_or_found(&mut store, &config.account_name, clock(), &mut entropy).await?;
        let (sender, receiver) = mpsc::channel(config.queue_max.max(1));
        let (ready, readiness) = watch::channel(Readiness::Ready);
        let metrics = Arc::new(ServiceMetrics::default());
        let history = store.history();
        let core = Core::new(store, domain, config, Arc::clone(&clock), entropy, Arc::clone(&metrics), ready);
        let task = tokio::spawn(core.run(receiver));
        Ok((Self { sender, readiness, metrics, history, clock }, task))
    }

    /// Gives a verified message to the domain. A refusal is an answer too.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn agent(&self, request: AgentRequest, caller: Caller) -> Result<AgentReply, Unavailable> {
        let reply = self.write(move |domain, now, entropy| domain.agent(&request, &caller, now, entropy)).await?;
        if let AgentReply::Refused(refusal) = &reply {
            self.metrics.count_refusal(refusal.code);
        }
        Ok(reply)
    }

    /// Gives a command to the domain.
    ///
    /// # Errors
    /// The outer one, if there is no answer; the inner one is the domain's refusal.
    pub async fn operator(
        &self,
        actor: Actor,
        command: OperatorCommand,
    ) -> Result<Result<OperatorReply, OperatorRefused>, Unavailable> {
        self.write(move |domain, now, entropy| match domain.operator(&actor, command.clone(), now, entropy) {
            Ok((reply, changes)) => (Ok(reply), changes),
            Err(refused) => (Err(refused), Vec::new()),
        })
        .await
    }

    /// Lets `apply` change the domain and returns what it returned, once the changes that it names are committed. If others
    /// that share the commit make it fail, it is done again, on the domain without them.
    ///
    /// # Errors
    /// If they could not be.
    pub async fn write<T, F>(&self, apply: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnMut(&mut Domain, UnixMillis, &mut Entropy) -> (T, Vec<Change>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Write(Box::new(WriteWith { apply, value: None, reply })))?;
        answer.await.map_err(|_| Unavailable::Stopped)?
    }

    /// Lets `look` look at the domain as it was last committed. It holds up everyone else: keep it short.
    ///
    /// # Errors
    /// If there is no domain to look at.
    pub async fn read<T, F>(&self, look: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Domain, UnixMillis) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Read(Box::new(ReadWith { look, reply })))?;
        answer.await.map_err(|_| Unavailable::Stopped)?
    }

    /// What the domain doesn't hold: usage, the audit log, archived reports; and backups.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Whether requests are served, and why not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }

    /// The time, as the domain is told it.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &ServiceMetrics {
        &self.metrics
    }

    /// How many requests wait.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.sender.max_capacity().saturating_sub(self.sender.capacity())
    }

    /// Ends the loop after what waits already; wait for its handle then.
    pub async fn stop(&self) {
        // It may have ended already.
        let _ended = self.sender.send(Job::Stop).await;
    }

    fn send(&self, job: Job) -> Result<(), Unavailable> {
        self.sender.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.metrics.count_busy();
                Unavailable::Busy { waiting: self.queue_length() }
            }
            mpsc::error::TrySendError::Closed(_) => Unavailable::Stopped,
        })
    }
}
