//! The driver's loop.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::prepared::Prepared;
use super::stores::{Saved, Stores};
use crate::license::agent::{
    Action, Agent, Alarm, Command, Exchange, ExchangeId, Leaving, Limits, Outgoing, TransportFailure, TransportStep,
    UsageNow, nothing_of,
};
use crate::license::ports::{Counts, DailyCount, Port};
use crate::license::view::ViewInput;
use crate::limits::Verdict;
use crate::node::usage_now;
use crate::shell::cluster::setup::in_force;
use crate::shell::config::{Config, Secrets};
use crate::shell::context::Context;
use crate::shell::license::handle::Request;
use crate::shell::license::overrides::Overrides;
use crate::shell::license::setup::{Host, agent_setup, transport_settings};
use crate::shell::license::status::LicenseStatus;
use crate::shell::license::store::Seal;
use crate::shell::license::tell;
use crate::shell::license::transport::Transport;
use crate::shell::telemetry::{AlarmId, Raise, Severity};
use crate::sync::Mutex;
use crate::units::{NANOS_PER_SECOND, Now, Tick, UnixMillis};

/// Requests that wait for the one before them; the agent sends a few.
const UNSENT_MAX: usize = 32;

/// A state that the start could write nowhere is tried again after so long.
const SAVE_AGAIN_NANOS: u64 = 10 * NANOS_PER_SECOND;

/// What the driver has beside the agent.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) stores: Arc<Mutex<Stores>>,
    pub(super) seal: Seal,
    pub(super) host: Host,
    pub(super) transport: Transport,
    pub(super) config: Arc<Config>,
    pub(super) secrets: Secrets,
    pub(super) ports: Vec<Port>,
}

impl Parts {
    /// The addresses of manager and proxy, for people.
    pub(super) fn texts(&self) -> [Option<String>; 2] {
        let settings = self.transport.settings();
        [settings.url.as_ref().map(ToString::to_string), settings.proxy.as_ref().map(|proxy| proxy.address.to_string())]
    }

    /// What pages are made from.
    pub(super) fn view<'a>(
        &'a self,
        agent: &'a Agent,
        alarms: &'a [Alarm],
        [server, proxy]: &'a [Option<String>; 2],
    ) -> ViewInput<'a> {
        ViewInput {
            node: &self.config.node.name,
            state: agent.state(),
            setup: agent.setup(),
            usage: agent.usage(),
            ports: &self.ports,
            alarms,
            server: server.as_deref(),
            proxy: proxy.as_deref(),
            now: agent.effective_now(),
        }
    }
}

/// The driver of one agent.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) agent: Agent,
    pub(super) parts: Parts,
    waiting: VecDeque<Action>,
    pub(super) limits: Option<Limits>,
    /// The first limits are in force already.
    first: bool,
    /// The types of which nothing was granted, as it was told last.
    without: Vec<String>,
    in_flight: JoinSet<(ExchangeId, Exchange)>,
    /// The request that is on its way. One at a time: the manager takes messages in the order of their numbers alone.
    sent: Option<(ExchangeId, AbortHandle)>,
    /// Those behind it, in order.
    unsent: VecDeque<Outgoing>,
    /// This host's name, as the system says it.
    host_name: String,
    /// When the newest sample is due: it moves when one was taken.
    sample_due: Option<UnixMillis>,
    /// The last state could not be written.
    pub(super) unsaved: bool,
    complaints: Complaints,
    /// A factory reset waits for the manager.
    resetting: bool,
    /// When what the start could not write is written again.
    save_again_at: Option<Tick>,
    #[cfg(test)]
    pub(super) defects: super::tests::Defects,
}

/// What is to be told once there is somebody to tell it to.
#[derive(Debug, Default)]
struct Complaints {
    degraded: Option<String>,
    unsaved: Option<String>,
    evaluation: Option<String>,
    lost: Option<String>,
    usage: Option<String>,
}

impl Driver {
    pub(super) fn new(prepared: Prepared) -> Self {
        let Prepared {
            agent,
            limits,
            waiting,
            parts,
            degraded,
            unsaved,
            resetting,
            evaluation_complaint,
            usage_complaint,
            lost,
        } = prepared;
        let complaints =
            Complaints { degraded, unsaved, evaluation: evaluation_complaint, lost, usage: usage_complaint };
        Self {
            host_name: host_name(),
            sample_due: agent.state().deadlines.sample_due,
            agent,
            parts,
            waiting,
            limits,
            first: true,
            without: Vec::new(),
            in_flight: JoinSet::new(),
            sent: None,
            unsent: VecDeque::new(),
            unsaved: false,
            complaints,
            resetting,
            save_again_at: None,
            #[cfg(test)]
            defects: super::tests::Defects::default(),
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn run(mut self, context: Arc<Context>, mut requests: mpsc::Receiver<Request>) {
        self.begin(&context);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.carry_out(&context).await;
            self.follow_reset(&context);
            self.follow_way();
            context.license.set_status(LicenseStatus::of(&self.agent));
            context.license.beat(context.clock.tick());
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if self.answer(&context, request).await.is_break() {
                        return;
                    }
                }
                Some(done) = self.in_flight.join_next() => self.came_back(&context, done),
                _ = seconds.tick() => self.second(&context).await,
            }
        }
    }

    /// Puts in force what the start decided, and tells what the stores found.
    fn begin(&mut self, context: &Context) {
        let wall = context.clock.wall();
        if let Some(limits) = self.limits.take() {
            self.set_limits(context, limits);
        }
        let Complaints { degraded, unsaved, evaluation, lost, usage } = std::mem::take(&mut self.complaints);
        if let Some(error) = degraded {
            context.alarms.raise(tell::not_saved(&error, false), wall);
        }
        if let Some(error) = unsaved {
            context.alarms.raise(tell::not_saved(&error, true), wall);
            self.save_again_at = Some(context.clock.tick().plus_nanos(SAVE_AGAIN_NANOS));
        }
        if let Some(what) = evaluation {
            context.alarms.raise(evaluation_restored(&what), wall);
        }
        if let Some(what) = lost {
            context.alarms.raise(tell::lost(&what), wall);
        }
        if let Some(what) = usage {
            context.alarms.raise(tell::not_recorded(&what), wall);
        }
    }

    /// A factory reset that gave licenses back first is done: what operators changed by command is taken back too.
    fn follow_reset(&mut self, context: &Arc<Context>) {
        let state = self.agent.state();
        let runs = state.leaving == Some(Leaving::FactoryReset);
        let ended = std::mem::replace(&mut self.resetting, runs) && !runs;
        if ended && state.registration.name() == "unregistered" {
            let (context, data_dir) = (Arc::clone(context), self.parts.config.node.data_dir.clone());
            // Reading the configuration again asks this driver: it must not wait for that.
            tokio::spawn(async move {
                let _turn = context.license.overrides.lock().await;
                let written = tokio::task::spawn_blocking(move || Overrides::default().write(&data_dir)).await;
                if let Ok(Err(error)) = written {
                    tracing::error!("the factory reset is done, and what operators changed by command stays: {error}");
                } else if let Err(refused) = context.reload().await {
                    // The alarm of a refused reload tells it too.
                    tracing::error!(
                        "what operators changed by command stays until a restart: {}",
                        refused.reasons.join("; ")
                    );
                }
            });
        }
    }

    /// The way to the manager is the one in force: where it is locked, not the configured one.
    fn follow_way(&mut self) {
        let settings = transport_settings(&self.parts.config, &self.parts.secrets, self.agent.way_in_force());
        if *self.parts.transport.settings() != settings {
            self.parts.transport = Transport::new(settings);
        }
    }

    /// Effects, one after the other.
    pub(super) async fn carry_out(&mut self, context: &Context) {
        while let Some(action) = self.waiting.pop_front() {
            self.effect(context, action).await;
        }
        while let Some(action) = self.agent.poll_action() {
            self.effect(context, action).await;
        }
    }

    async fn effect(&mut self, context: &Context, action: Action) {
        let wall = context.clock.wall();
        match action {
            Action::Persist(state) => {
                let stores = Arc::clone(&self.parts.stores);
                let saved = tokio::task::spawn_blocking(move || stores.lock().save(&state)).await;
                self.saved(context, saved.unwrap_or_else(|_| Err("saving the license state failed inside".to_owned())));
            }
            Action::SetLimits(limits) => self.set_limits(context, limits),
            Action::Send(outgoing) => self.send(outgoing),
            Action::Cancel(exchange) => {
                self.unsent.retain(|outgoing| outgoing.exchange != exchange);
                if let Some((_, handle)) = self.sent.take_if(|(sent, _)| *sent == exchange) {
                    handle.abort();
                }
                self.send_next();
            }
            Action::Raise(alarm) => tell::raise(context, &alarm, wall),
            Action::Clear(kind) => tell::clear(context, kind, wall),
            Action::Notice(notice) => tell::notice(context, &notice, wall),
        }
    }

    fn saved(&mut self, context: &Context, saved: Result<Saved, String>) {
        let now = context.clock.now();
        match saved {
            Ok(Saved { degraded: None }) => {
                (self.unsaved, self.save_again_at) = (false, None);
                context.alarms.clear(AlarmId::StateNotSaved, "license", now.wall);
            }
            Ok(Saved { degraded: Some(error) }) => {
                (self.unsaved, self.save_again_at) = (false, None);
                context.alarms.raise(tell::not_saved(&error, false), now.wall);
            }
            Err(error) => {
                self.unsaved = true;
                // Nothing behind it happened, and nothing of it is in force.
                self.agent.persist_failed(now);
                context.alarms.raise(tell::not_saved(&error, true), now.wall);
            }
        }
    }

    /// First the limits, then the verdict, then people.
    fn set_limits(&mut self, context: &Context, limits: Limits) {
        let now = context.clock.now();
        let (policy, homes) = in_force(&self.parts.config, Some(&limits), context.cluster.pools());
        match context.gate.set_policy(policy, now) {
            Ok(()) => context.cluster.set_homes(homes),
            Err(refused) => {
                tracing::error!("the limits that follow from the state of licensing cannot be set: {refused}");
            }
        }
        let before = context.gate.verdict().get();
        context.gate.verdict().set(limits.verdict);
        let without = nothing_of(&limits, self.agent.setup());
        let refuses = limits.verdict != Verdict::default() || !without.is_empty();
        let changed = before != limits.verdict || self.without != without;
        if changed || (self.first && refuses) {
            tell::verdict(context, &limits, &without, self.agent.state().name(), now.wall);
        }
        self.without = without.into_iter().map(str::to_owned).collect();
        self.first = false;
        self.limits = Some(limits);
    }

    fn send(&mut self, outgoing: Outgoing) {
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(outgoing);
            self.send_next();
            return;
        }
        let text = format!("{UNSENT_MAX} requests wait to be sent already");
        let failure = TransportFailure { step: TransportStep::Configuration, text };
        self.in_flight.spawn(async move { (outgoing.exchange, Exchange::Failed(failure)) });
    }

    fn send_next(&mut self) {
        if self.sent.is_some() {
            return;
        }
        let Some(outgoing) = self.unsent.pop_front() else { return };
        self.follow_way();
        let exchange = outgoing.exchange;
        let transport = self.parts.transport.clone();
        #[cfg(test)]
        let panics = std::mem::take(&mut self.defects.exchange);
        let handle = self.in_flight.spawn(async move {
            #[cfg(test)]
            assert!(!panics, "a test asked for it");
            (exchange, transport.exchange(&outgoing).await)
        });
        self.sent = Some((exchange, handle));
    }

    fn came_back(&mut self, context: &Context, done: Result<(ExchangeId, Exchange), tokio::task::JoinError>) {
        let (exchange, outcome) = match done {
            Ok(done) => done,
            // One that was cancelled is of no interest to anybody.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                // A defect inside: the agent waits for an answer, and others wait behind it.
                let Some(exchange) =
                    self.sent.as_ref().and_then(|(sent, handle)| (handle.id() == error.id()).then_some(*sent))
                else {
                    return;
                };
                let text = "the sidecar failed inside while it asked the manager; see the log".to_owned();
                tracing::error!("asking the license manager failed by a defect: {error}");
                (exchange, Exchange::Failed(TransportFailure { step: TransportStep::Internal, text }))
            }
        };
        if self.sent.take_if(|(sent, _)| *sent == exchange).is_some() {
            self.send_next();
        }
        if let Exchange::Failed(TransportFailure { step, text }) = &outcome {
            tracing::warn!(step = step.name(), "the license manager was not reached: {text}");
        }
        self.agent.handle_response(exchange, outcome, context.clock.now());
    }

    async fn second(&mut self, context: &Context) {
        let now = context.clock.now();
        // A figure that cannot be computed holds up nothing else: time goes on, and so do deadlines.
        let computed = catch_unwind(AssertUnwindSafe(|| self.used(context, now)));
        if let Ok(usage) = &computed {
            self.agent.observe(usage, now);
            self.agent.observe_loans(&context.cluster.loans());
        }
        self.agent.handle_timeout(now);
        match computed {
            // What the agent makes of it was computed too, or this would not be reached.
            Ok(_) => context.alarms.clear(AlarmId::ComputeFailed, tell::COMPUTED, now.wall),
            Err(panic) => context.alarms.raise(tell::not_computed(tell::panic_text(&*panic)), now.wall),
        };
        if self.save_again_at.is_some_and(|at| at <= now.tick) {
            self.save_again_at = Some(now.tick.plus_nanos(SAVE_AGAIN_NANOS));
            let state = Box::new(self.agent.state().clone());
            self.effect(context, Action::Persist(state)).await;
        }
        if self.agent.state().registration.name() == "registered" {
            // Whatever was lost before, this instance is registered now.
            if self.agent.alarms().all(|alarm| tell::alarm_id(alarm.kind) != AlarmId::ReregisterNeeded) {
                context.alarms.clear(AlarmId::ReregisterNeeded, "", now.wall);
            }
        }
        let host_name = host_name();
        if host_name != self.host_name {
            self.parts.host.name.clone_from(&host_name);
            self.host_name = host_name;
            self.configure_anew(context);
        }
        let mut count = self.agent.usage().capacity;
        if DailyCount::refresh(&mut count, &self.parts.ports, self.agent.effective_now())
            && let Some(count) = count
        {
            // A new day: capacity is asked for as it was counted anew.
            self.agent.count_capacity(count);
            self.configure_anew(context);
            self.save_usage(context).await;
        }
        let due = self.agent.state().deadlines.sample_due;
        if due != self.sample_due {
            self.sample_due = due;
            self.save_usage(context).await;
        }
    }

    /// What is used: calls as the gate counts them, capacity as it was counted today.
    fn used(&mut self, context: &Context, now: Now) -> Vec<UsageNow> {
        #[cfg(test)]
        assert!(!self.defects.usage, "a test asked for it");
        let profile = &self.parts.config.profile;
        let mut usage = usage_now(&context.gate.take_usage(now), profile);
        if let Some(today) = &self.agent.usage().capacity {
            usage.extend(today.counts.usage(&Counts::of(&self.parts.ports), profile));
        }
        usage
    }

    /// The host's name, or today's count of the ports, is another one.
    fn configure_anew(&mut self, context: &Context) {
        let setup = agent_setup(&self.parts.config, &self.parts.host, self.agent.usage().capacity.as_ref());
        if let Err(refused) = self.agent.handle_command(Command::Configure(Box::new(setup)), context.clock.now()) {
            tracing::error!("the licensing agent doesn't take what changed on this host: {refused}");
        }
    }

    /// Keeps what was used. Losing it loses no right, but reports would say less than was used.
    pub(super) async fn save_usage(&self, context: &Context) {
        let (stores, bytes) = (Arc::clone(&self.parts.stores), self.agent.usage().encode());
        let saved = tokio::task::spawn_blocking(move || stores.lock().save_usage(&bytes)).await;
        let wall = context.clock.wall();
        match saved.unwrap_or_else(|_| Err("keeping what was used failed inside".to_owned())) {
            Ok(()) => context.alarms.clear(AlarmId::ComputeFailed, tell::RECORD, wall),
            Err(error) => context.alarms.raise(tell::not_recorded(&error), wall),
        };
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn evaluation_restored(what: &str) -> Raise {
    Raise {
        id: AlarmId::StateRestored,
        subject: "evaluation".to_owned(),
        severity: Severity::Major,
        what: tell::sentence(what),
        effect: "No call is affected.".to_owned(),
        next: "Nothing; the alarm stays until the next start.".to_owned(),
        remedy: "Check the disk, and whether somebody edits files under node.data_dir.".to_owned(),
    }
}
