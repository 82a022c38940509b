//! The loop itself, one step per method.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::metrics::ServiceMetrics;
use super::{Job, Read, Readiness, ServiceConfig, StartError, Unavailable, WallClock, Write};
use crate::manager::domain::{Change, Domain, SaneClock};
use crate::manager::store::{DatabaseKind, Loaded, Store, StoreError};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

const DAY_MS: u64 = 86_400_000;
/// So many requests of one batch may be found to be what the database does not take: after each the domain is loaded again.
const GUILTY_MAX: usize = 4;

/// Why a batch was not committed.
enum NotCommitted {
    /// It is what was to be written.
    OfTheData(StoreError),
    /// Nothing can be written.
    Down(Unavailable),
}

/// Everything that the loop owns.
pub(super) struct Core {
    store: Store,
    /// `None` while it could not be loaded again.
    domain: Option<Domain>,
    config: ServiceConfig,
    clock: WallClock,
    /// What the clock is trusted with: nothing ends by a clock that leapt.
    sane: SaneClock,
    /// The monotonic clock's beginning.
    started: Instant,
    /// The time by which things end, as of the last housekeeping.
    trusted: UnixMillis,
    entropy: Entropy,
    metrics: Arc<ServiceMetrics>,
    readiness: watch::Sender<Readiness>,
    /// Why nothing can be written; `None` if it can.
    trouble: Option<Unavailable>,
    /// The day whose usage was rolled up to the end.
    retained_day: Option<u64>,
    /// Rolling up is under way: do the next batch soon.
    retaining: bool,
    /// Another manager took the database over: the loop ends.
    taken_over: bool,
}

/// Loads the domain; founds an account in an empty store; tells a domain that was restored.
pub(super) async fn load_or_found(
    store: &mut Store,
    account_name: &str,
    now: UnixMillis,
    entropy: &mut Entropy,
) -> Result<Domain, StartError> {
    let loaded = store.load().await?;
    if loaded.records.is_empty() && !loaded.restored {
        let (domain, changes) = Domain::found(account_name, now, entropy);
        store.commit(&changes).await?;
        return Ok(domain);
    }
    let mut domain = Domain::load(loaded.records)?;
    if loaded.restored {
        let changes = domain.after_restore(now);
        store.commit_restored(&changes).await?;
    }
    Ok(domain)
}

impl Core {
    pub(super) fn new(
        store: Store,
        domain: Domain,
        config: ServiceConfig,
        clock: WallClock,
        entropy: Entropy,
        metrics: Arc<ServiceMetrics>,
        readiness: watch::Sender<Readiness>,
    ) -> Self {
        Self {
            store,
            domain: Some(domain),
            config,
            trusted: clock(),
            clock,
            sane: SaneClock::new(),
            started: Instant::now(),
            entropy,
            metrics,
            readiness,
            trouble: None,
            retained_day: None,
            retaining: false,
            taken_over: false,
        }
    }

    /// Runs until it is stopped, nobody can ask any more, or another manager took over.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        let mut housekeeping = tokio::time::interval(self.config.housekeep_every);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probing = tokio::time::interval(self.config.probe_every);
        probing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut claiming = tokio::time::interval(self.config.claim_every);
        claiming.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let batch_max = self.config.batch_max.max(1);
        let mut batch = Vec::with_capacity(batch_max);
        while !self.taken_over {
            let stop = tokio::select! {
                biased;
                _ = probing.tick(), if self.trouble.is_some() => self.recover_beside(&mut jobs).await,
                _ = claiming.tick(), if self.trouble.is_none() => {
                    self.check_claim().await;
                    false
                }
                _ = housekeeping.tick(), if self.trouble.is_none() => {
                    self.housekeep().await;
                    false
                }
                count = jobs.recv_many(&mut batch, batch_max) => {
                    let stop = count == 0 || batch.iter().any(|job| matches!(job, Job::Stop));
                    self.batch(batch.drain(..)).await;
                    stop
                }
                // Only when nobody waits.
                () = std::future::ready(()), if self.retaining && self.trouble.is_none() => {
                    self.retain().await;
                    false
                }
            };
            if stop {
                self.store.close().await;
                return Ok(());
            }
        }
        Err(StoreError::TakenOver)
    }

    /// Serves a batch: writes first, in order; their commit; their answers; then reads, which see what was committed.
    pub(super) async fn batch(&mut self, jobs: impl IntoIterator<Item = Job>) {
        let now = (self.clock)();
        let mut writes: Vec<Box<dyn Write>> = Vec::new();
        let mut changes = Vec::new();
        let mut reads: Vec<Box<dyn Read>> = Vec::new();
        for job in jobs {
            match job {
                Job::Write(mut write) => match (&self.trouble, &mut self.domain) {
                    (None, Some(domain)) => {
                        changes.extend(write.apply(domain, now, &mut self.entropy));
                        writes.push(write);
                    }
                    (Some(_), _) | (None, None) => self.refuse(write),
                },
                Job::Read(read) => reads.push(read),
                Job::Stop => {}
            }
        }
        if !writes.is_empty() {
            match self.commit(writes.len(), &changes).await {
                Ok(()) => writes.into_iter().for_each(|write| write.finish(Ok(()))),
                Err(NotCommitted::Down(why)) => writes.into_iter().for_each(|write| write.finish(Err(why.clone()))),
                Err(NotCommitted::OfTheData(error)) => self.one_by_one(writes, error, now).await,
            }
        }
        for read in reads {
            self.metrics.count_read();
            read.look(self.domain.as_ref().ok_or_else(|| self.why()), now);
        }
    }

    fn refuse(&self, write: Box<dyn Write>) {
        self.metrics.count_cannot_write(1);
        write.finish(Err(self.why()));
    }

    /// Does requests again, each with a commit of its own, after the database refused what they led to together.
    async fn one_by_one(&mut self, writes: Vec<Box<dyn Write>>, first: StoreError, now: UnixMillis) {
        self.reload().await;
        let (mut guilty, alone, mut last) = (0, writes.len() == 1, first);
        for mut write in writes {
            let usable = self.trouble.is_none() && guilty < GUILTY_MAX && !alone;
            let outcome = match &mut self.domain {
                Some(domain) if usable => {
                    let changes = write.apply(domain, now, &mut self.entropy);
                    self.commit(1, &changes).await
                }
                // Either it is the guilty one, or too many were.
                Some(_) if self.trouble.is_none() => {
                    let reason = last.to_string().into();
                    self.metrics.count_unstorable();
                    write.finish(Err(Unavailable::Unstorable { reason }));
                    continue;
                }
                Some(_) | None => Err(NotCommitted::Down(self.why())),
            };
            match outcome {
                Ok(()) => write.finish(Ok(())),
                Err(NotCommitted::Down(why)) => write.finish(Err(why)),
                Err(NotCommitted::OfTheData(error)) => {
                    guilty += 1;
                    self.metrics.count_unstorable();
                    write.finish(Err(Unavailable::Unstorable { reason: error.to_string().into() }));
                    self.reload().await;
                    last = error;
                }
            }
        }
    }

    fn why(&self) -> Unavailable {
        self.trouble.clone().unwrap_or(Unavailable::Stopped)
    }

    /// After a failure the domain is ahead of the store. If nothing can be written it is thrown away here; if it is what was
    /// to be written that fails, the caller loads it again.
    async fn commit(&mut self, requests: usize, changes: &[Change]) -> Result<(), NotCommitted> {
        if changes.is_empty() {
            // Refusals, mostly: nothing is to be kept of them.
            return Ok(());
        }
        let begun = Instant::now();
        let result = self.store.commit(changes).await;
        self.metrics.count_commit(requests, changes.len(), begun.elapsed(), result.is_ok());
        let Err(error) = result else {
            if let Some(observer) = &self.config.observer {
                observer.tell(changes);
            }
            return Ok(());
        };
        if error.is_of_the_data() {
            tracing::error!(%error, requests, "the database does not take what a request leads to; that one is refused");
            return Err(NotCommitted::OfTheData(error));
        }
        self.metrics.count_cannot_write(requests);
        let why = self.fail(&error);
        // A file is there, and can be read; a server that does not answer is tried again beside the requests.
        if self.store.kind() == DatabaseKind::Sqlite && !matches!(error, StoreError::Timeout { .. }) {
            self.reload().await;
        } else {
            self.domain = None;
        }
        Err(NotCommitted::Down(why))
    }

    /// Notes why nothing can be written.
    fn fail(&mut self, error: &StoreError) -> Unavailable {
        let why = Unavailable::CannotWrite { reason: error.to_string().into(), disk_full: error.is_full() };
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(%error, "the license manager cannot write; requests are refused until it can");
        }
        self.taken_over |= matches!(error, StoreError::TakenOver);
        self.trouble = Some(why.clone());
        self.readiness.send_replace(Readiness::NotReady(why.clone()));
        why
    }

    /// The memory may be ahead of the store: what was committed is the truth.
    async fn reload(&mut self) {
        self.domain = None;
        match self.store.load().await {
            Ok(loaded) => self.take(loaded),
            Err(error) => {
                self.fail(&error);
            }
        }
    }

    fn take(&mut self, loaded: Loaded) {
        self.metrics.count_reload();
        match Domain::load(loaded.records) {
            Ok(domain) => self.domain = Some(domain),
            Err(error) => tracing::error!(%error, "the database holds no state of a manager"),
        }
    }

    /// Tries whether writing works again, and answers meanwhile. True if the loop is to stop.
    async fn recover_beside(&mut self, jobs: &mut mpsc::Receiver<Job>) -> bool {
        let (why, now) = (self.why(), (self.clock)());
        let Self { store, domain, metrics, .. } = self;
        let outcome = {
            let mut attempt = pin!(attempt(store, domain.is_none()));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut attempt => break outcome,
                    job = jobs.recv() => match job {
                        Some(Job::Write(write)) => {
                            metrics.count_cannot_write(1);
                            write.finish(Err(why.clone()));
                        }
                        Some(Job::Read(read)) => {
                            metrics.count_read();
                            read.look(domain.as_ref().ok_or_else(|| why.clone()), now);
                        }
                        Some(Job::Stop) | None => return true,
                    },
                }
            }
        };
        self.recovered(outcome);
        false
    }

    /// Tries whether writing works again.
    #[cfg(test)]
    pub(super) async fn recover(&mut self) {
        let outcome = attempt(&mut self.store, self.domain.is_none()).await;
        self.recovered(outcome);
    }

    fn recovered(&mut self, outcome: Result<Option<Loaded>, StoreError>) {
        match outcome {
            Ok(loaded) => {
                if let Some(loaded) = loaded {
                    self.take(loaded);
                }
                if self.domain.is_some() {
                    tracing::info!("the license manager can write again");
                    self.trouble = None;
                    self.readiness.send_replace(Readiness::Ready);
                }
            }
            Err(error) => {
                self.fail(&error);
            }
        }
    }

    /// Looks whether the database is still this process's. If not, nothing is written until it is.
    pub(super) async fn check_claim(&mut self) {
        if let Err(error) = self.store.check_claim().await {
            self.fail(&error);
        }
    }

    /// Does what is due.
    pub(super) async fn housekeep(&mut self) {
        let (wall, tick) = ((self.clock)(), self.started.elapsed().as_millis());
        let tick_ms = u64::try_from(tick).unwrap_or(u64::MAX);
        if let Some(domain) = &mut self.domain {
            let (now, changes) = domain.housekeep_sanely(&mut self.sane, wall, tick_ms, &mut self.entropy);
            self.trusted = now;
            // Its failure is noted and told like any other; there is nobody to answer.
            if let Err(NotCommitted::OfTheData(error)) = self.commit(0, &changes).await {
                self.fail(&error);
                self.domain = None;
            }
        }
        self.retaining |= self.retained_day != Some(self.trusted.0 / DAY_MS);
    }

    /// Rolls up one batch of usage.
    pub(super) async fn retain(&mut self) {
        let now = self.trusted;
        match self.store.retain(self.config.retention, now).await {
            Ok(done) => {
                self.retaining = !done;
                if done {
                    self.retained_day = Some(now.0 / DAY_MS);
                }
            }
            Err(error) => {
                // The domain is not ahead of the store: nothing of it was to be written.
                self.fail(&error);
            }
        }
    }
}

/// Everything, if it is asked for, and a write that takes itself back.
async fn attempt(store: &mut Store, load: bool) -> Result<Option<Loaded>, StoreError> {
    let loaded = if load { Some(store.load().await?) } else { None };
    store.probe().await?;
    Ok(loaded)
}
