//! The agent itself: one event at a time, and its effects in order.
//!
//! Every event ends in [`Agent::commit`], which is the one place that puts effects into the queue. Rows of the transition
//! tables are named in the files that carry them out: `commands` and `registration`, `authorization` and `contact`,
//! `use_of_licenses`, `enforcement`.

use std::collections::{BTreeMap, VecDeque};

use super::action::{Action, Alarm, AlarmKind, AlarmLevel, Exchange, ExchangeId, Limits};
use super::command::{Command, CommandRefused, Done};
use super::enforcement;
use super::requests::{InFlight, Purpose};
use super::state::{Addresses, AgentState, Authorization, Setup, Stored, TransportClass};
use super::timers::Timer;
use crate::license::usage::Usage;
use crate::license::usage::tolerance::Tolerance;
use crate::license::{EffectiveClock, KeptTime};
use crate::protocol::Entropy;
use crate::units::{NANOS_PER_SECOND, Now, Tick, UnixMillis};

/// After a write that failed, nothing is begun for so long: a full disk must not be hammered.
const PERSIST_RETRY_NANOS: u64 = 10 * NANOS_PER_SECOND;

/// How often the state is kept although nothing happened, while evaluation time runs and while it doesn't.
const SAVE_EVERY_NANOS: [u64; 2] = [60 * NANOS_PER_SECOND, 900 * NANOS_PER_SECOND];

/// Events of one call. More are the next call's: a bug that lets a timer stand must not hang the host.
const EVENTS_MAX: usize = 256;

/// Kinds of unexpected events that are told apart.
const UNEXPECTED_MAX: usize = 128;

fn kept_time(state: &AgentState) -> KeptTime {
    let tick = Tick::default().plus_millis(state.high_water_tick_ms);
    KeptTime { high_water: state.high_water, tick, signed: state.signed_high_water }
}

/// The licensing agent. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Agent {
    pub(super) setup: Setup,
    pub(super) state: AgentState,
    /// What is on disk, as far as the driver said.
    durable: Box<AgentState>,
    /// Handed out to be written; what follows it in the queue is not out yet.
    offered: Option<Box<AgentState>>,
    /// The configuration that goes with `durable`, and the one that goes with `offered`.
    kept_setup: Setup,
    offered_setup: Option<Setup>,
    pub(super) clock: EffectiveClock,
    pub(super) entropy: Entropy,
    pub(super) usage: Usage,
    pub(super) tolerance: Tolerance,
    queue: VecDeque<Action>,
    /// Effects of the event that is being handled.
    pub(super) outbox: Vec<Action>,
    pub(super) exchanges: BTreeMap<ExchangeId, InFlight>,
    pub(super) next_exchange: u64,
    /// As last put into the queue, and as last handed out.
    limits: [Option<Limits>; 2],
    /// Likewise.
    alarms: [BTreeMap<AlarmKind, Alarm>; 2],
    accounted_to: Tick,
    /// The part of a second that `used_s` doesn't show yet.
    rest_nanos: u64,
    saved_at: Tick,
    paused_until: Option<Tick>,
    /// When calls were judged last, in effective time: what was due then is decided.
    pub(super) judged_at: UnixMillis,
    /// When a person last asked for a report.
    pub(super) report_asked: Option<UnixMillis>,
    /// A report was due while one was on its way: another follows its answer.
    pub(super) report_owed: bool,
    /// How the clocks stood when the manager's time was refused last.
    pub(super) skewed_at: Option<u64>,
    /// The answer that is being handled set effective time right.
    pub(super) time_mended: bool,
}

impl Agent {
    /// The agent, with what the store found. `seed` must be 32 bytes that nobody can guess, new for each start.
    #[must_use]
    pub fn start(setup: Setup, stored: Stored, now: Now, seed: [u8; 32]) -> Self {
        let mut entropy = Entropy::from_seed(seed);
        let Stored { state, account, restored, usage } = stored;
        let found = state.is_some();
        let state = state.map_or_else(|| super::start::first(&setup, now, &mut entropy), |state| *state);
        let mut agent = Self {
            clock: EffectiveClock::start(kept_time(&state), now),
            durable: Box::new(state.clone()),
            tolerance: Tolerance::resumed(state.deadlines.over_use_since),
            kept_setup: setup.clone(),
            offered_setup: None,
            setup,
            state,
            offered: None,
            entropy,
            usage: usage.unwrap_or_default(),
            queue: VecDeque::new(),
            outbox: Vec::new(),
            exchanges: BTreeMap::new(),
            next_exchange: 0,
            limits: [None, None],
            alarms: [BTreeMap::new(), BTreeMap::new()],
            accounted_to: now.tick,
            rest_nanos: 0,
            saved_at: now.tick,
            paused_until: None,
            judged_at: UnixMillis(0),
            report_asked: None,
            report_owed: false,
            skewed_at: None,
            time_mended: false,
        };
        if found {
            // What is on disk binds calls although nothing can be written now.
            agent.set_limits();
        }
        agent.resume(found, account, restored);
        agent.commit(None);
        agent.run_timers();
        agent
    }

    /// Does what is due. Call it at [`Self::poll_timeout`], and once a second.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        if self.paused_until.is_some_and(|until| now.tick < until) {
            return;
        }
        self.paused_until = None;
        if self.clock_was_set() {
            self.event(Self::try_again);
        }
        self.run_timers();
        let runs = enforcement::evaluation_runs(&self.state, &self.setup.profile);
        let [often, seldom] = SAVE_EVERY_NANOS;
        if now.tick.nanos_since(self.saved_at) >= if runs { often } else { seldom } {
            self.commit(None);
        }
    }

    /// Carries out a command, or begins it.
    ///
    /// # Errors
    /// If it is refused: nothing changed then, but for an alarm that says so.
    pub fn handle_command(&mut self, command: Command, now: Now) -> Result<Done, CommandRefused> {
        self.advance(now);
        self.run_timers();
        let before = self.state.clone();
        let outcome = self.command(command);
        self.commit(Some(before));
        if self.offered.is_none() && !self.queue.iter().any(|action| matches!(action, Action::Persist(_))) {
            self.kept_setup = self.setup.clone();
        }
        outcome
    }

    /// Whether [`Command::Configure`] with this setup would be refused at this time. Does what is due before.
    ///
    /// # Errors
    /// What the command would be refused with; nothing was raised for it.
    pub fn may_configure(&mut self, setup: &Setup, now: Now) -> Result<(), CommandRefused> {
        self.advance(now);
        self.run_timers();
        self.check_setup(setup)
    }

    /// Takes what became of a request.
    pub fn handle_response(&mut self, exchange: ExchangeId, outcome: Exchange, now: Now) {
        self.advance(now);
        let before = self.state.clone();
        self.time_mended = false;
        match self.exchanges.remove(&exchange) {
            None => self.unexpected("answer"),
            Some(sent) => self.replied(sent, &outcome),
        }
        self.commit(Some(before));
        // What the answer made due (a report that waited) is not a second late.
        self.run_timers();
    }

    /// The state that the newest [`Action::Persist`] carried could not be kept: what the agent knows is again what is on
    /// disk, but for evaluation time, which is never given back. Nothing is begun for ten seconds.
    pub fn persist_failed(&mut self, now: Now) {
        self.offered = None;
        self.queue.clear();
        let used_s = self.state.evaluation.used_s;
        self.state = (*self.durable).clone();
        self.state.evaluation.used_s = self.state.evaluation.used_s.max(used_s);
        self.setup = self.kept_setup.clone();
        self.offered_setup = None;
        self.exchanges.retain(|_, exchange| exchange.out);
        // What is on disk may wait for answers that have come.
        for (endpoint, counts) in &mut self.state.statistics {
            let waits =
                self.exchanges.values().filter(|sent| sent.queued && sent.purpose.endpoint() == *endpoint).count();
            let waits = u64::try_from(waits).unwrap_or(u64::MAX);
            counts.failed += counts.in_queue.saturating_sub(waits);
            counts.in_queue = waits;
        }
        // What that event decided about calls is to be decided again.
        self.judged_at = self.state.high_water;
        self.tolerance = Tolerance::resumed(self.state.deadlines.over_use_since);
        let [limits, limits_out] = &mut self.limits;
        limits.clone_from(limits_out);
        let [alarms, alarms_out] = &mut self.alarms;
        alarms.clone_from(alarms_out);
        self.paused_until = Some(now.tick.plus_nanos(PERSIST_RETRY_NANOS));
    }

    /// The last thing before a clean end: accounts for the time that ran, and asks for it to be kept.
    pub fn stop(&mut self, now: Now) {
        self.advance(now);
        self.state.evaluation.clean_stop = true;
        self.commit(None);
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        let due = self.timers().into_iter().map(|(at, _)| self.clock.tick_of(at)).min()?;
        Some(self.paused_until.map_or(due, |until| due.max(until)))
    }

    /// The next effect, to be carried out before the one after it is asked for.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(kept) = self.offered.take() {
            self.durable = kept;
            if let Some(setup) = self.offered_setup.take() {
                self.kept_setup = setup;
            }
        }
        let action = self.queue.pop_front()?;
        match &action {
            Action::Persist(state) => {
                self.offered = Some(state.clone());
                self.offered_setup = Some(self.setup.clone());
            }
            Action::SetLimits(limits) => self.limits[1] = Some(limits.clone()),
            Action::Raise(alarm) => drop(self.alarms[1].insert(alarm.kind, alarm.clone())),
            Action::Clear(kind) => drop(self.alarms[1].remove(kind)),
            Action::Send(outgoing) => {
                if let Some(exchange) = self.exchanges.get_mut(&outgoing.exchange) {
                    exchange.out = true;
                }
            }
            Action::Cancel(_) | Action::Notice(_) => {}
        }
        Some(action)
    }

    /// What it knows.
    #[must_use]
    pub const fn state(&self) -> &AgentState {
        &self.state
    }

    /// The configuration in force.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What was used. The driver keeps it beside the state, after each sample.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The way to the manager that is in force, and the addresses on it.
    #[must_use]
    pub fn way_in_force(&self) -> (TransportClass, &Addresses) {
        let class = enforcement::transport_in_force(&self.state, &self.setup);
        (class, enforcement::addresses_in_force(&self.state, &self.setup))
    }

    /// The manager has moved, or the proxy, and the way is the same: that is the way from now on.
    pub(super) fn follow_addresses(&mut self) {
        if !enforcement::transport_locked(&self.state, &self.setup)
            && let Some(membership) = &mut self.state.membership
            && membership.transport == self.setup.transport
        {
            membership.addresses.clone_from(&self.setup.addresses);
        }
    }

    /// Effective time at the last call.
    #[must_use]
    pub const fn effective_now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The alarms that stand.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms[0].values()
    }

    /// When an alarm that stands began.
    pub(super) fn alarm_since(&self, kind: AlarmKind) -> Option<UnixMillis> {
        self.alarms[0].get(&kind).map(|alarm| alarm.since)
    }

    /// The last write failed, and nothing is begun yet.
    #[cfg(test)]
    pub(super) const fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// What calls are judged by.
    #[must_use]
    pub const fn limits(&self) -> Option<&Limits> {
        self.limits[0].as_ref()
    }

    /// Does something that may change the state, with all its effects.
    pub(super) fn event(&mut self, happens: impl FnOnce(&mut Self)) {
        let before = self.state.clone();
        happens(self);
        self.commit(Some(before));
    }

    /// Accounts for time. A tick before the last one counts nothing.
    pub(super) fn advance(&mut self, now: Now) {
        self.clock.observe(now);
        let nanos = now.tick.nanos_since(self.accounted_to);
        self.accounted_to = self.accounted_to.max(now.tick);
        if enforcement::evaluation_runs(&self.state, &self.setup.profile) {
            let nanos = nanos.saturating_add(self.rest_nanos);
            self.rest_nanos = nanos % NANOS_PER_SECOND;
            let account = &mut self.state.evaluation;
            account.used_s = account.used_s.saturating_add(nanos / NANOS_PER_SECOND);
        }
    }

    /// Everything that is due, one event at a time, in the order of their times.
    fn run_timers(&mut self) {
        for event in 0..EVENTS_MAX {
            let now = self.clock.now();
            let Some((_, timer)) = self.timers().into_iter().filter(|(at, _)| *at <= now).min() else {
                if event == 0 {
                    // Alarms of the clock, and hours that texts name, change without an event.
                    self.tell_alarms();
                }
                break;
            };
            let before = self.state.clone();
            self.timer(timer);
            self.commit(Some(before));
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::EvaluationOut => self.evaluation_out(),
            Timer::RevocationOut => self.leave(super::state::Registration::Unregistered),
            Timer::IdExpired => self.id_expired(),
            Timer::AuthorizationExpired => self.authorization_expired(),
            Timer::OverageOut => self.notice(
                "overage_out",
                AlarmLevel::Critical,
                "the overage period has ended: its consequence is in force".to_owned(),
            ),
            Timer::OverageForgotten => {
                self.state.deadlines.overage_forgotten = None;
                self.state.deadlines.overage_end = None;
            }
            Timer::Sample => self.sample(),
            Timer::Tolerance => self.tolerate(),
            Timer::RegistrationRetry => self.retry_registration(),
            Timer::AuthorizationDue => self.ask_for_grant(),
            Timer::IdDue => self.send(Purpose::Renew),
            Timer::ReportDue => self.report(),
            Timer::Goodbye => self.say_goodbye(),
            Timer::Lost => self.give_up(),
            Timer::Deregistration => self.send(Purpose::Deregistration),
            Timer::Warn => self.warn(),
        }
    }

    pub(super) fn replied(&mut self, sent: InFlight, outcome: &Exchange) {
        match sent.purpose {
            Purpose::Registration | Purpose::Move => {
                let reply = self.read(&sent, outcome);
                self.registration_replied(sent, reply);
            }
            Purpose::Entitlement | Purpose::Report => {
                let reply = self.read(&sent, outcome);
                self.grant_replied(sent, reply);
            }
            Purpose::Renew => {
                let reply = self.read(&sent, outcome);
                self.renewal_replied(sent, reply);
            }
            Purpose::Deregistration => {
                let reply = self.read(&sent, outcome);
                self.deregistration_replied(sent, reply);
            }
            Purpose::Goodbye => {
                let reply = self.read(&sent, outcome);
                self.goodbye_replied(sent, reply);
            }
            Purpose::Ack => {
                let reply = self.read(&sent, outcome);
                self.ack_replied(sent, reply);
            }
        }
    }

    /// Rows 6 and 34.
    fn evaluation_out(&mut self) {
        self.state.authorization = Authorization::EvaluationExpired;
        self.note_evaluation_expired();
    }

    pub(super) fn note_evaluation_expired(&mut self) {
        if self.state.authorization == Authorization::EvaluationExpired {
            let text = "the evaluation period is used up".to_owned();
            self.stand(AlarmKind::EvalExpired, text.clone());
            self.notice("evaluation_expired", AlarmLevel::Critical, text);
        } else {
            self.unstand(AlarmKind::EvalExpired);
        }
    }

    /// An event that no rule names changes nothing and is counted.
    pub(super) fn unexpected(&mut self, event: &str) {
        let state = serde_json::to_value(self.state.authorization).ok();
        let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
        let key = format!("{state}/{event}");
        if self.state.unexpected.len() < UNEXPECTED_MAX || self.state.unexpected.contains_key(&key) {
            *self.state.unexpected.entry(key).or_default() += 1;
        }
    }

    /// Ends an event. The order is the safety: what was decided is on disk before it binds calls, and binds calls before
    /// anybody hears of it; a request leaves only after its number was kept.
    fn commit(&mut self, before: Option<AgentState>) {
        let now = self.clock.now();
        self.state.enforced = enforcement::enforced(&self.state, &self.setup.profile, now);
        if before.as_ref() != Some(&self.state) {
            let KeptTime { high_water, tick, signed } = self.clock.kept();
            self.state.high_water = high_water;
            self.state.high_water_tick_ms = tick.nanos_since(Tick::default()) / 1_000_000;
            self.state.signed_high_water = self.state.signed_high_water.max(signed);
            self.state.evaluation.saved_at = self.clock.wall();
            self.saved_at = self.accounted_to;
            self.queue.push_back(Action::Persist(Box::new(self.state.clone())));
        }
        self.set_limits();
        self.queue.extend(self.outbox.drain(..));
        self.tell_alarms();
    }

    fn set_limits(&mut self) {
        self.judged_at = self.clock.now();
        let limits = enforcement::limits(&self.state, &self.setup, self.clock.now());
        if self.limits[0].as_ref() != Some(&limits) {
            self.limits[0] = Some(limits.clone());
            self.queue.push_back(Action::SetLimits(limits));
        }
    }

    fn tell_alarms(&mut self) {
        let due = self.due_alarms();
        let [told, _] = &mut self.alarms;
        for kind in told.keys().filter(|kind| !due.contains_key(kind)) {
            self.queue.push_back(Action::Clear(*kind));
        }
        for (kind, alarm) in &due {
            if told.get(kind) != Some(alarm) {
                self.queue.push_back(Action::Raise(alarm.clone()));
            }
        }
        *told = due;
    }
}
