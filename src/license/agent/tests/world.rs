//! An agent, its driver and its manager on simulated clocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::manager::Manager;
use crate::license::agent::{
    Action, Addresses, Agent, AgentState, Alarm, AlarmKind, Authorization, Command, CommandRefused, Done, Exchange,
    Limits, Notice, Outgoing, Registration, Requested, Setup, Stored, TransportClass, TransportFailure, TransportStep,
    TypeCap, UsageClass, UsageNow,
};
use crate::license::usage::Usage;
use crate::license::{BuiltinProfile, Profile, TypeUnit};
use crate::limits::{Verdict, VerdictCause};
use crate::protocol::{Endpoint, Entropy, Envelope, RegistrationToken, RequestHeader};
use crate::units::{Now, Tick, UnixMillis};

pub(super) const START: u64 = 1_800_000_000_000;
pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// What becomes of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down(TransportStep),
    /// Whatever answers, it isn't the manager.
    Says(u16, Vec<u8>),
    /// Requests wait in `World::waiting`.
    Held,
}

pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) manager: Manager,
    pub(super) now: Now,
    pub(super) link: Link,
    /// The next so many writes fail.
    pub(super) failing_writes: u32,
    pub(super) kept: Option<Box<AgentState>>,
    /// Effective time at which the state that was kept last became binding.
    pub(super) bound_at: UnixMillis,
    pub(super) limits: Option<Limits>,
    pub(super) alarms: BTreeMap<AlarmKind, Alarm>,
    pub(super) notices: Vec<Notice>,
    pub(super) sent: Vec<(u64, Endpoint)>,
    pub(super) waiting: VecDeque<Outgoing>,
    /// Wake the agent no more often than this, where every retry doesn't matter.
    pub(super) coarse_ms: u64,
    /// Check that kept states survive JSON; slow.
    pub(super) thorough: bool,
    seeds: u8,
}

pub(super) fn token() -> RegistrationToken {
    RegistrationToken::generate(&mut Entropy::from_seed([9; 32]))
}

pub(super) fn setup(profile: Profile) -> Setup {
    let requested = profile
        .types
        .iter()
        .map(|licensed| Requested {
            type_name: licensed.name.clone(),
            tag: profile.tag(&licensed.name, UsageClass::Production),
            units: Some(match licensed.unit {
                TypeUnit::CallsPerSecond => 100,
                TypeUnit::Sessions => 50,
                TypeUnit::Capacity => 10,
            }),
            per_license: licensed.per_license,
            tier: licensed.tier.clone(),
        })
        .collect();
    Setup {
        enabled: Some(true),
        usage: UsageClass::Production,
        requested,
        export_control: profile.hard_cap.enabled,
        overage_allowed: profile.overage.default,
        overage_of: BTreeMap::new(),
        transport: TransportClass::Direct,
        addresses: Addresses::default(),
        hostname: "sip-a".to_owned(),
        withhold_hostname: false,
        renew_on_hostname_change: false,
        retry_jitter: false,
        trusted_root: None,
        version: "1.0".to_owned(),
        fingerprint: "here".to_owned(),
        profile: Arc::new(profile),
    }
}

pub(super) fn seq_of(outgoing: &Outgoing) -> u64 {
    #[derive(serde::Deserialize)]
    struct Any {
        header: RequestHeader,
    }
    Envelope::parse(&outgoing.body).unwrap().peek::<Any>().unwrap().header.seq
}

impl World {
    pub(super) fn of(builtin: BuiltinProfile) -> Self {
        Self::with(setup(Profile::builtin(builtin).unwrap()))
    }

    pub(super) fn with(setup: Setup) -> Self {
        let now = Now { tick: Tick::from_secs(1000), wall: UnixMillis(START) };
        let mut manager = Manager::new(50);
        manager.bought = setup.requested.iter().map(|requested| (requested.tag.clone(), 1000)).collect();
        let agent = Agent::start(setup, Stored::default(), now, [1; 32]);
        let mut world = Self {
            agent,
            manager,
            now,
            link: Link::Up,
            failing_writes: 0,
            kept: None,
            bound_at: now.wall,
            limits: None,
            alarms: BTreeMap::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            waiting: VecDeque::new(),
            coarse_ms: 0,
            thorough: false,
            seeds: 1,
        };
        world.drain();
        world
    }

    /// Carries out what the agent wants, and answers what it asks, until it wants nothing more.
    pub(super) fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "the agent comes to rest");
            while let Some(action) = self.agent.poll_action() {
                self.carry_out(action);
            }
            if self.link == Link::Held {
                break;
            }
            let Some(outgoing) = self.waiting.pop_front() else { break };
            let outcome = self.outcome(&outgoing);
            self.agent.handle_response(outgoing.exchange, outcome, self.now);
        }
    }

    pub(super) fn outcome(&mut self, outgoing: &Outgoing) -> Exchange {
        match &self.link {
            Link::Up | Link::Held => self.manager.answer(outgoing, UnixMillis(START + self.ms())),
            Link::Down(step) => {
                Exchange::Failed(TransportFailure { step: *step, text: "no way to the manager".to_owned() })
            }
            Link::Says(status, body) => Exchange::Answered { status: *status, retry_after_s: None, body: body.clone() },
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Persist(state) => {
                if self.failing_writes > 0 {
                    self.failing_writes -= 1;
                    self.agent.persist_failed(self.now);
                    return;
                }
                if self.thorough {
                    let json = serde_json::to_string(&state).unwrap();
                    let back: AgentState = serde_json::from_str(&json).unwrap();
                    assert_eq!(back, *state);
                }
                self.kept = Some(state);
                self.bound_at = self.agent.effective_now();
            }
            Action::SetLimits(limits) => self.limits = Some(limits),
            Action::Send(outgoing) => {
                let kept = self.kept.as_ref().unwrap();
                assert!(seq_of(&outgoing) <= kept.message_seq, "a number is kept before it is used");
                self.sent.push((self.ms(), outgoing.endpoint));
                self.waiting.push_back(outgoing);
            }
            Action::Cancel(exchange) => self.waiting.retain(|outgoing| outgoing.exchange != exchange),
            Action::Raise(alarm) => drop(self.alarms.insert(alarm.kind, alarm)),
            Action::Clear(kind) => assert!(self.alarms.remove(&kind).is_some(), "{kind:?} stood"),
            Action::Notice(notice) => self.notices.push(notice),
        }
    }

    /// Milliseconds since the start, by the boot clock.
    pub(super) fn ms(&self) -> u64 {
        self.now.tick.nanos_since(Tick::from_secs(1000)) / 1_000_000
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.tick = self.now.tick.plus_millis(ms);
        self.now.wall.0 += ms;
    }

    /// Lets time pass to so many milliseconds after the start, stopping whenever the agent wants to be woken.
    pub(super) fn run_to(&mut self, ms: u64) {
        while self.ms() < ms {
            let wake = self.agent.poll_timeout().map_or(u64::MAX, |wake| wake.nanos_since(self.now.tick));
            let wake = wake.div_ceil(1_000_000).max(self.coarse_ms);
            self.pass(wake.clamp(1, ms - self.ms()));
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.agent.handle_timeout(self.now);
        self.drain();
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        self.run_to(self.ms() + ms);
    }

    pub(super) fn command(&mut self, command: Command) -> Result<Done, CommandRefused> {
        let outcome = self.agent.handle_command(command, self.now);
        self.drain();
        outcome
    }

    pub(super) fn register(&mut self) {
        self.command(Command::Register { token: token(), force: false }).unwrap();
    }

    pub(super) fn use_now(&mut self, type_name: &str, units: u32) {
        let usage = UsageNow { type_name: type_name.to_owned(), current: units, peak: units, next: None };
        self.agent.observe(&[usage], self.now);
        self.drain();
    }

    /// Ends the process, cleanly or not, and starts another with what was kept.
    pub(super) fn restart(&mut self, clean: bool) {
        if clean {
            self.agent.stop(self.now);
            self.drain();
        }
        self.restart_with(self.agent.setup().clone());
    }

    pub(super) fn restart_with(&mut self, setup: Setup) {
        self.seeds = self.seeds.wrapping_add(1);
        self.waiting.clear();
        self.alarms.clear();
        let state = self.kept.clone();
        let usage = Usage::decode(&self.agent.usage().encode()).unwrap();
        let stored = Stored { state, usage: Some(usage), ..Stored::default() };
        self.agent = Agent::start(setup, stored, self.now, [self.seeds; 32]);
        // What was found binds calls, by the time of the start.
        self.bound_at = self.agent.effective_now();
        self.drain();
    }

    /// Nothing is due that could not be done: the last write did not fail.
    pub(super) fn agent_is_rested(&self) -> bool {
        self.kept
            .as_deref()
            .is_some_and(|kept| kept.authorization == self.a() && kept.client == self.agent.state().client)
            && !self.agent.is_paused()
            && self.agent.poll_timeout().is_none_or(|wake| wake > self.now.tick)
    }

    pub(super) fn a(&self) -> Authorization {
        self.agent.state().authorization
    }

    pub(super) fn r(&self) -> &Registration {
        &self.agent.state().registration
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.limits.as_ref().unwrap().verdict
    }

    /// The verdict in a word, as the fast path has it.
    pub(super) fn word(&self) -> &'static str {
        let name = |cause: VerdictCause| match cause {
            VerdictCause::Unconfigured => "unconfigured",
            VerdictCause::EvaluationExpired => "evaluation-expired",
            VerdictCause::AuthorizationExpired => "authorization-expired",
            VerdictCause::ReservationExpired => "reservation-expired",
            VerdictCause::Enforced => "enforced",
            VerdictCause::Revoked => "revoked",
        };
        match self.verdict() {
            Verdict { calls: Some(cause), .. } => match name(cause) {
                "evaluation-expired" => "reject (evaluation-expired)",
                "authorization-expired" => "reject (authorization-expired)",
                "unconfigured" => "reject (unconfigured)",
                _ => "reject",
            },
            Verdict { registrations: Some(_), .. } => "no new registrations",
            Verdict { configuration: Some(_), .. } => "config freeze",
            Verdict { .. } => "allow",
        }
    }

    pub(super) fn cap(&self, type_name: &str) -> TypeCap {
        let limits = self.limits.as_ref().unwrap();
        limits.types.iter().find(|(name, _)| name == type_name).unwrap().1
    }

    pub(super) fn stands(&self, kind: AlarmKind) -> bool {
        self.alarms.contains_key(&kind)
    }

    /// When requests of a kind were sent, in milliseconds since the start.
    pub(super) fn sent(&self, endpoint: Endpoint) -> Vec<u64> {
        self.sent.iter().filter(|(_, sent)| *sent == endpoint).map(|(at, _)| *at).collect()
    }
}
