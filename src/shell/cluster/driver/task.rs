//! The task that owns the core.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::prepared::{Homes, Prepared};
use super::tally::Tally;
use crate::admission::NodePool;
use crate::cluster::{Action, Class, Cluster, Event, NodeName, Record, ResourceIndex};
use crate::shell::clock::Clock;
use crate::shell::cluster::handle::Request;
use crate::shell::cluster::ledger::LedgerFile;
use crate::shell::cluster::pools::DriverPools;
use crate::shell::cluster::setup::{ClusterSetup, licenses};
use crate::shell::cluster::status::ClusterStatus;
use crate::shell::cluster::tell;
use crate::shell::cluster::transport::{LinkEvent, Transport};
use crate::shell::context::Context;
use crate::shell::telemetry::AlarmId;
use crate::sync::Mutex;
use crate::units::{NANOS_PER_SECOND, Now, Tick, UnixMillis};

/// So many events of the peers are handed in before what follows from them is carried out.
const EVENTS_AT_ONCE: usize = 64;
/// The first and the longest pause before records that could not be made durable are tried again.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// A census that lasts for so long is told.
const CENSUS_NANOS: u64 = 10 * NANOS_PER_SECOND;
/// The wall clock and the boot clock leapt apart: the guest was frozen without its clocks.
const LEAP_NANOS: u64 = 50_000_000;

/// Records on their way to the disk.
type Persisting = JoinHandle<(u64, Vec<Record>, Result<(), String>, Duration)>;

pub(super) struct Driver {
    pub(super) setup: ClusterSetup,
    pub(super) cluster: Cluster,
    pub(super) pools: Box<dyn DriverPools>,
    ledger: Arc<Mutex<LedgerFile>>,
    pub(super) homes: Homes,
    waiting: VecDeque<Action>,
    pub(super) transport: Transport,
    events: mpsc::Receiver<LinkEvent>,
    persisting: Option<Persisting>,
    retry: Duration,
    pub(super) tally: Tally,
    /// Since when each member has been connected, or not.
    pub(super) since: BTreeMap<NodeName, (bool, Tick)>,
    clocks: Now,
    began: Tick,
}

impl Driver {
    pub(super) fn new(prepared: Prepared) -> Self {
        let Prepared { setup, cluster, pools, ledger, homes, waiting, transport, events } = prepared;
        Self {
            setup,
            cluster,
            pools,
            ledger,
            homes,
            waiting,
            transport,
            events,
            persisting: None,
            retry: RETRY[0],
            tally: Tally::default(),
            since: BTreeMap::new(),
            clocks: Clock.now(),
            began: Clock.tick(),
        }
    }

    /// Runs until it is told to stop, or has to start anew from its ledger.
    pub(super) async fn run(mut self, context: Arc<Context>, mut requests: mpsc::Receiver<Request>) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if context.cluster.is_draining() {
            self.cluster.drain(context.clock.tick(), &mut *self.pools);
        }
        self.watch(&context);
        loop {
            self.carry_out(&context);
            context.cluster.beat(context.clock.tick());
            let due = self.cluster.poll_timeout();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.take_events(&context, event),
                    // The transport lives as long as this.
                    None => return,
                },
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if self.answer(&context, request).is_break() {
                        break;
                    }
                }
                () = until(due) => {
                    let now = context.clock.tick();
                    self.cluster.handle_timeout(now, &mut *self.pools);
                    self.watch(&context);
                    self.look_export(&context);
                }
                persisted = joined(&mut self.persisting) => self.persisted(&context, persisted),
                () = context.cluster.low_water() => {
                    let now = context.clock.tick();
                    for resource in self.pools.take_low_water() {
                        self.cluster.handle_low_water(resource, now, &mut *self.pools);
                    }
                    self.look_export(&context);
                }
                () = context.cluster.homes_changed() => self.take_settings(&context),
                _ = seconds.tick() => {
                    if self.each_second(&context).is_break() {
                        return;
                    }
                }
            }
        }
        self.last_words(&context).await;
    }

    /// Asks the gate to wake this task when a pool runs low again. Not more often than the core's tick, but after what was
    /// fetched came: a shortage that lasts wakes nobody for each call.
    fn watch(&mut self, context: &Context) {
        let now = context.clock.tick();
        for place in 0..self.setup.shared.len() {
            let resource = ResourceIndex(place);
            let mark = self.cluster.low_mark(resource, now, &mut *self.pools);
            self.pools.arm_low_water(resource, mark);
        }
    }

    /// Carries out what the core wants done.
    fn carry_out(&mut self, context: &Context) {
        while let Some(action) = self.waiting.pop_front().or_else(|| self.cluster.poll_action()) {
            match action {
                Action::Persist { batch, records } => self.persist(batch, records, Duration::ZERO),
                Action::Send { to, message } => {
                    if let Err(error) = self.transport.send(&to, &message) {
                        tracing::error!("a message to {to} is not sent: {error}");
                    }
                }
                Action::Gossip { to, bytes } => self.transport.send_datagram(&to, bytes),
                // The licensing agent answers for its grants itself; homes come from the policy in force, not from them.
                Action::GrantAck { resource, epoch, effective } => {
                    tracing::debug!(
                        resource = &*resource.name,
                        epoch = epoch.0,
                        effective = effective.0,
                        "a smaller home holds"
                    );
                }
                Action::Tell(event) => self.tell(context, event),
            }
        }
    }

    fn tell(&mut self, context: &Context, event: Event) {
        if let Event::Ignored { from, reason } = &event {
            *self.tally.figures.ignored.entry(reason).or_default() += 1;
            tracing::debug!(%from, reason, "a message is ignored");
            return;
        }
        tell::event(context, &event, context.clock.wall());
    }

    fn take_events(&mut self, context: &Context, first: LinkEvent) {
        self.take_event(context, first);
        for _ in 1..EVENTS_AT_ONCE {
            let Ok(event) = self.events.try_recv() else { return };
            self.take_event(context, event);
        }
    }

    fn take_event(&mut self, context: &Context, event: LinkEvent) {
        // Read anew for each: a clock older than a resize would judge loans that are over as running.
        let now = context.clock.now();
        match event {
            LinkEvent::Up(peer) => {
                self.since.insert(peer.clone(), (true, now.tick));
                context.alarms.clear(AlarmId::ClusterPeerLost, peer.as_str(), now.wall);
                tracing::info!("{peer} is connected");
                self.cluster.handle_connected(&peer, now.tick);
            }
            LinkEvent::Down(peer) => {
                self.since.insert(peer.clone(), (false, now.tick));
                tracing::info!("{peer} is not connected any more");
                self.cluster.handle_disconnected(&peer, now.tick);
            }
            LinkEvent::Message(peer, message) => {
                self.tally.received(&peer, &message);
                self.cluster.handle_message(&peer, *message, now.tick, &mut *self.pools);
            }
            LinkEvent::Datagram(peer, bytes) => self.cluster.handle_datagram(&peer, &bytes, now.tick),
            LinkEvent::NameTwice(peer, seen) => {
                context.alarms.raise(tell::name_twice(peer.as_str(), &seen), now.wall);
            }
        }
    }

    /// Hands records to a thread that waits for the disk. One batch is under way at a time: the core sees to that.
    fn persist(&mut self, batch: u64, records: Vec<Record>, pause: Duration) {
        let ledger = Arc::clone(&self.ledger);
        let write = move || {
            let before = Clock.tick();
            let outcome = ledger.lock().persist(&records).map_err(|error| error.to_string());
            let took = Duration::from_nanos(Clock.tick().nanos_since(before));
            (batch, records, outcome, took)
        };
        self.persisting = Some(tokio::spawn(async move {
            sleep(pause).await;
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| go_on_panicking(error))
        }));
    }

    fn persisted(&mut self, context: &Context, done: (u64, Vec<Record>, Result<(), String>, Duration)) {
        let (batch, records, outcome, took) = done;
        let now = context.clock.now();
        let figures = &mut self.tally.figures;
        figures.persist_seconds_total += took.as_secs_f64();
        figures.persist_seconds_max = figures.persist_seconds_max.max(took.as_secs_f64());
        match outcome {
            Ok(()) => {
                figures.persisted_total += 1;
                [self.retry, _] = RETRY;
                context.alarms.clear(AlarmId::ClusterLedger, "", now.wall);
                self.cluster.handle_persisted(batch, now.tick, &mut *self.pools);
            }
            Err(error) => {
                figures.persist_failures_total += 1;
                context.alarms.raise(tell::ledger_failing(&error), now.wall);
                // Until it is durable the core says nothing that follows from it.
                let pause = self.retry;
                let [_, longest] = RETRY;
                self.retry = (pause * 2).min(longest);
                self.persist(batch, records, pause);
            }
        }
    }

    /// What licensing, a reload or an operator made of this node's counts.
    fn take_settings(&mut self, context: &Context) {
        let wanted = licenses(&self.setup.shared, &context.cluster.homes());
        for (index, grant) in self.homes.changed(&wanted) {
            tracing::info!(
                resource = %self.setup.shared.get(index.0).map_or("", |of| &of.resource.id.name),
                licenses = grant.home.0,
                "this node's own count changed"
            );
            self.cluster.handle_grant(index, grant, context.clock.tick(), &mut *self.pools);
        }
    }

    /// Alarms and figures. Breaks where the driver has to start anew from its ledger.
    fn each_second(&mut self, context: &Context) -> ControlFlow<()> {
        let now = context.clock.now();
        let before = std::mem::replace(&mut self.clocks, now);
        let ticked = now.tick.nanos_since(before.tick);
        let walked = now.wall.0.saturating_sub(before.wall.0).saturating_mul(1_000_000);
        // The wall clock reads whole milliseconds.
        if ticked.abs_diff(walked) > LEAP_NANOS + 2_000_000 && self.shares_hard() {
            tracing::warn!("the clocks leapt apart; what is borrowed under a hard cap is given up, as after a restart");
            return ControlFlow::Break(());
        }
        self.cluster.handle_wall(now.wall);
        self.transport.expire(now.wall);
        let status = self.status(context, now);
        self.alarms(context, &status, now);
        context.cluster.set_status(status);
        ControlFlow::Continue(())
    }

    fn shares_hard(&self) -> bool {
        self.setup.shared.iter().any(|of| of.resource.id.class == Class::Hard)
    }

    fn alarms(&self, context: &Context, status: &ClusterStatus, now: Now) {
        let lost = u64::from(self.setup.params.lost_after_ms);
        for member in &status.members {
            if member.state == "lost" && member.for_s.saturating_mul(1000) >= lost {
                context.alarms.raise(tell::lost(member), now.wall);
            }
            if let Some(ends) = member.certificate_expires {
                certificate(context, &member.name, ends, now);
            }
        }
        certificate(context, &status.node, status.certificate_expires, now);
        match status.census_waits_for.as_deref() {
            Some(missing) if now.tick.nanos_since(self.began) >= CENSUS_NANOS => {
                context.alarms.raise(tell::census(missing), now.wall);
            }
            Some(_) => {}
            None => {
                context.alarms.clear(AlarmId::ClusterCensus, "", now.wall);
            }
        }
    }

    fn answer(&mut self, context: &Context, request: Request) -> ControlFlow<()> {
        // Who asked may have gone: that is no concern of what was asked.
        match request {
            Request::Drain(draining, answer) => {
                let _ = answer.send(Ok(self.drain(context, draining)));
            }
            Request::Forget(node, answer) => {
                let _ = answer.send(self.forget(context, &node));
            }
            Request::Identity(identity) => {
                tracing::info!("the cluster's certificates are taken anew; every connection is made with them");
                self.transport.set_identity(*identity);
            }
            Request::Stop(answer) => {
                self.carry_out(context);
                let _ = answer.send(());
                return ControlFlow::Break(());
            }
            #[cfg(test)]
            Request::Panic => panic!("a test asked for it"),
        }
        ControlFlow::Continue(())
    }

    /// Export control over the cluster: says to the gate whether a full pool is the cap, or peers may have something to spare.
    fn look_export(&mut self, context: &Context) {
        let now = context.clock.tick();
        for (place, of) in self.setup.shared.iter().enumerate() {
            let Some(cap) = export_cap(context, of.pool) else { continue };
            let resource = ResourceIndex(place);
            let latched = self.cluster.look_export(resource, u64::from(cap), now, &*self.pools);
            self.pools.set_scarce(resource, latched, now);
        }
    }

    /// What is on its way to the disk gets there; then the peers hear the good-bye.
    async fn last_words(mut self, context: &Context) {
        self.cluster.leave(context.clock.tick());
        self.carry_out(context);
        if let Some(persisting) = self.persisting.take()
            && let Ok(done) = persisting.await
        {
            self.persisted(context, done);
        }
        self.transport.stop().await;
    }
}

/// What all nodes together may use of a pool under export control, in units; `None` for other pools, and where it is lifted.
fn export_cap(context: &Context, pool: NodePool) -> Option<u32> {
    match pool {
        NodePool::Export | NodePool::Webrtc => context.gate.pool_cap(pool),
        NodePool::Rate | NodePool::Type(_) => None,
    }
}

/// Raises or clears the alarm of a certificate that ends.
fn certificate(context: &Context, whose: &str, ends: UnixMillis, now: Now) {
    match tell::certificate(whose, ends, now.wall) {
        Some(raise) => context.alarms.raise(raise, now.wall),
        None => context.alarms.clear(AlarmId::ClusterCertificate, whose, now.wall),
    };
}

/// Waits until an instant of the boot clock; for ever if there is none.
async fn until(due: Option<Tick>) {
    match due {
        Some(due) => sleep(Duration::from_nanos(due.nanos_since(Clock.tick()))).await,
        None => std::future::pending().await,
    }
}

/// The end of what is on its way to the disk; never, if nothing is.
async fn joined(persisting: &mut Option<Persisting>) -> (u64, Vec<Record>, Result<(), String>, Duration) {
    let Some(task) = persisting else { return std::future::pending().await };
    let outcome = task.await;
    *persisting = None;
    match outcome {
        Ok(done) => done,
        Err(error) => go_on_panicking(error),
    }
}

/// A task ended by a defect: the driver ends with it, and starts anew from the ledger.
fn go_on_panicking(error: tokio::task::JoinError) -> ! {
    std::panic::resume_unwind(error.try_into_panic().unwrap_or_else(|error| Box::new(error)))
}
