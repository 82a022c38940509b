//! The task that owns the core.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::access::{EtcdError, ask};
use super::{EtcdSetup, ledger_id};
use crate::cluster::chunks::{Answer, ChunkEvent, Chunks};
use crate::cluster::{LedgerId, Licenses, ResourceIndex};
use crate::shell::clock::Clock;
use crate::shell::cluster::driver::MakePools;
use crate::shell::cluster::handle::{ClusterRefused, Request};
use crate::shell::cluster::pools::DriverPools;
use crate::shell::cluster::setup::licenses;
use crate::shell::cluster::status::{ClusterStatus, Share};
use crate::shell::cluster::tell;
use crate::shell::context::Context;
use crate::shell::telemetry::AlarmId;
use crate::units::{NANOS_PER_SECOND, Tick, UnixMillis};

/// An etcd that fails for so long is told as an alarm.
const FAILING_NANOS: u64 = 2 * NANOS_PER_SECOND;

type Asking = JoinHandle<(u64, Result<(Client, Answer), EtcdError>)>;

pub(super) struct Driver {
    setup: EtcdSetup,
    ledger: LedgerId,
    chunks: Chunks,
    pools: Box<dyn DriverPools>,
    homes: Vec<Licenses>,
    client: Option<Client>,
    asking: Option<Asking>,
    failing_since: Option<Tick>,
}

impl Driver {
    /// A core that starts; its pools are set to what this node keeps. Waits for the disk.
    ///
    /// # Errors
    /// If this state directory's number can't be had.
    pub(super) fn open(setup: EtcdSetup, context: &Arc<Context>, make: &MakePools) -> Result<Self, EtcdError> {
        let ledger = ledger_id(&setup.dir)?;
        let mut life = [0; 8];
        getrandom::fill(&mut life).map_err(EtcdError::Random)?;
        let mut pools = (make.0)(context, &setup.shared);
        let core = setup.core(ledger, u64::from_le_bytes(life));
        let chunks = Chunks::new(core, context.clock.tick(), &mut *pools);
        let homes = vec![Licenses::ZERO; setup.shared.len()];
        let mut driver = Self { setup, ledger, chunks, pools, homes, client: None, asking: None, failing_since: None };
        driver.take_homes(context);
        Ok(driver)
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self, context: Arc<Context>, mut requests: mpsc::Receiver<Request>) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.ask(&context);
            context.cluster.beat(context.clock.tick());
            let due = self.chunks.poll_timeout();
            tokio::select! {
                (number, done) = answered(&mut self.asking) => self.take_answer(&context, number, done),
                () = until(due) => {
                    let now = context.clock.tick();
                    self.chunks.handle_timeout(now, &mut *self.pools);
                    self.watch();
                }
                () = context.cluster.low_water() => {
                    let now = context.clock.tick();
                    for resource in self.pools.take_low_water() {
                        self.chunks.handle_low_water(resource, now, &mut *self.pools);
                    }
                }
                () = context.cluster.homes_changed() => self.take_homes(&context),
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if self.answer(&context, request).is_break() {
                        return;
                    }
                }
                _ = seconds.tick() => self.each_second(&context),
            }
            while let Some(event) = self.chunks.poll_event() {
                self.tell(&context, &event);
            }
        }
    }

    /// Sends what the core wants to know. The clock is read before anything leaves: it is the term's anchor.
    fn ask(&mut self, context: &Context) {
        if self.asking.is_some() {
            return;
        }
        let Some(request) = self.chunks.poll_request(context.clock.tick()) else { return };
        let (etcd, client) = (self.setup.etcd.clone(), self.client.take());
        self.asking = Some(tokio::spawn(async move { (request.number, ask(&etcd, client, request.op).await) }));
    }

    fn take_answer(&mut self, context: &Context, number: u64, done: Result<(Client, Answer), EtcdError>) {
        let now = context.clock.now();
        let answer = match done {
            Ok((client, answer)) => {
                self.client = Some(client);
                if self.failing_since.take().is_some() {
                    tracing::info!("etcd answers");
                }
                context.alarms.clear(AlarmId::ClusterDown, "etcd", now.wall);
                answer
            }
            Err(error) => {
                let since = *self.failing_since.get_or_insert(now.tick);
                tracing::debug!("{error}");
                if now.tick.nanos_since(since) >= FAILING_NANOS {
                    context.alarms.raise(tell::etcd_lost(&error.to_string()), now.wall);
                }
                Answer::Failed
            }
        };
        self.chunks.handle_answer(number, answer, now.tick, &mut *self.pools);
    }

    /// Asks the gate to wake this task when a pool runs low again.
    fn watch(&mut self) {
        for place in 0..self.setup.shared.len() {
            let resource = ResourceIndex(place);
            self.pools.arm_low_water(resource, self.chunks.low_mark(resource));
        }
    }

    /// What licensing, a reload or an operator made of this node's counts.
    fn take_homes(&mut self, context: &Context) {
        let wanted = licenses(&self.setup.shared, &context.cluster.homes());
        for (place, count) in wanted.into_iter().enumerate() {
            if let Some(known) = self.homes.get_mut(place).filter(|known| **known != count) {
                *known = count;
                self.chunks.handle_home(ResourceIndex(place), count, context.clock.tick(), &mut *self.pools);
            }
        }
    }

    fn answer(&mut self, context: &Context, request: Request) -> ControlFlow<()> {
        // Who asked may have gone: that is no concern of what was asked.
        match request {
            Request::Drain(_, answer) => {
                let text = "with etcd there is nothing to drain: what a stopped node holds of calls per second is free \
                            after cluster.etcd.ttl_s; `callgate cluster forget` at another node takes its home out";
                let _ = answer.send(Err(ClusterRefused::Refused(text.to_owned())));
            }
            Request::Forget(node, answer) => {
                let said = if node == self.setup.node {
                    Err(ClusterRefused::Refused("this is that node: say it at another one".to_owned()))
                } else {
                    self.chunks.forget(node.clone(), context.clock.tick());
                    Ok(format!(
                        "{node} is forgotten unless etcd knows a living process of it; the log says what came of it"
                    ))
                };
                let _ = answer.send(said);
            }
            Request::Identity(_) => {}
            Request::Stop(answer) => {
                let _ = answer.send(());
                return ControlFlow::Break(());
            }
            #[cfg(test)]
            Request::Panic => panic!("a test asked for it"),
        }
        ControlFlow::Continue(())
    }

    fn tell(&self, context: &Context, event: &ChunkEvent) {
        match event {
            ChunkEvent::Lapsed => tracing::warn!("the term of this node's chunks ended without a new one"),
            ChunkEvent::Reaped(id, holder, licenses) => {
                tracing::info!(resource = &*id.name, holder, licenses = licenses.0, "a dead node's chunk is free");
            }
            ChunkEvent::HomeReached(id, licenses) => {
                tracing::info!(resource = &*id.name, licenses = licenses.0, "this node's home in etcd");
            }
            ChunkEvent::StillAlive(node) => tracing::warn!("{node} is not forgotten: it is alive"),
            ChunkEvent::Forgotten(node, id, licenses) => {
                tracing::warn!(
                    resource = &*id.name,
                    declared = licenses.0,
                    "{node} is forgotten; so many sessions of it may still run"
                );
            }
            ChunkEvent::NameTaken(_) | ChunkEvent::WentBack | ChunkEvent::Unreadable(_) => {
                context.alarms.raise(tell::etcd_wrong(event), context.clock.wall());
            }
        }
    }

    fn each_second(&mut self, context: &Context) {
        let now = context.clock.now();
        let shares = self.setup.shared.iter().enumerate().filter_map(|(place, of)| {
            let index = ResourceIndex(place);
            let view = self.chunks.view(index)?;
            let id = &of.resource.id;
            let in_etcd = |licenses: Licenses| BTreeMap::from([("etcd".to_owned(), licenses)]);
            let granted = self.homes.get(place).copied().unwrap_or_default();
            let is_over = view.until.is_some_and(|until| until <= now.tick);
            let held = if is_over { Licenses::ZERO } else { view.held };
            Some(Share {
                resource: id.name.to_string(),
                kind: id.kind,
                class: id.class,
                granted,
                home: view.kept.plus(view.home),
                limit_units: view.kept.plus(held).units(id.kind),
                used_units: self.pools.used(index, now.tick).used,
                offered_per_second: 0,
                starving: view.want != Licenses::ZERO,
                limbo: Licenses::ZERO,
                limbo_ends_in_ms: None,
                lent: in_etcd(view.home),
                recalled: BTreeMap::new(),
                reclaimed: BTreeMap::new(),
                borrowed: in_etcd(if is_over { Licenses::ZERO } else { view.held.plus(view.lowered) }),
            })
        });
        let resources = shares.collect();
        context.cluster.set_status(ClusterStatus {
            node: self.setup.node.as_str().to_owned(),
            listen: self.setup.etcd.endpoints.clone(),
            ledger: format!("{:032x}", self.ledger.0),
            certificate_expires: UnixMillis(u64::MAX),
            resources,
            as_of: now.wall,
            ..ClusterStatus::default()
        });
    }
}

/// Waits until an instant of the boot clock.
async fn until(due: Tick) {
    sleep(Duration::from_nanos(due.nanos_since(Clock.tick()))).await;
}

/// What came of the request under way; never, if none is.
async fn answered(asking: &mut Option<Asking>) -> (u64, Result<(Client, Answer), EtcdError>) {
    let Some(task) = asking else { return std::future::pending().await };
    let done = task.await;
    *asking = None;
    match done {
        Ok(done) => done,
        // A defect: the driver ends with it, and starts anew.
        Err(error) => std::panic::resume_unwind(error.try_into_panic().unwrap_or_else(|error| Box::new(error))),
    }
}
