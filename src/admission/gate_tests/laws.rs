//! Laws that hold after any story: slots add up, rates are held and refuse nothing else, leases end, restarts lose nothing.

use proptest::prelude::*;

use super::account::Account;
use super::*;
use crate::limits::RatePolicy;

#[derive(Debug, Clone)]
enum Act {
    Admit { call: u8, seq: Option<u8>, way: Way, emergency: bool, webrtc: bool, units: u8, ttl: Option<u8> },
    Register { call: u8, ttl: u8 },
    Confirm { call: u8, ttl: Option<u8> },
    Release { call: u8, seq: Option<u8> },
    Refresh { call: u8 },
    Epoch { proxy: u8, epoch: u8 },
    Resync { proxy: u8, named: Vec<u8>, end: bool },
    Pass { millis: u32 },
    Policy { number: u8 },
    Restart,
}

/// Trunk and tenant.
type Way = (Option<u8>, Option<u8>);

fn act() -> impl Strategy<Value = Act> {
    let seq = prop::option::of(0..4_u8);
    let way = (prop::option::of(0..3_u8), prop::option::of(0..2_u8));
    prop_oneof![
        12 => (0..24_u8, seq.clone(), way, prop::bool::weighted(0.05), prop::bool::weighted(0.2),
            1..3_u8, prop::option::of(1..90_u8))
            .prop_map(|(call, seq, way, emergency, webrtc, units, ttl)| {
                Act::Admit { call, seq, way, emergency, webrtc, units, ttl }
            }),
        // Few ids that come again and again: challenges.
        6 => (0..4_u8, seq.clone(), prop::option::of(0..2_u8)).prop_map(|(call, seq, trunk)| {
            Act::Admit { call, seq, way: (trunk, None), emergency: false, webrtc: false, units: 1, ttl: None }
        }),
        2 => (0..24_u8, 0..60_u8).prop_map(|(call, ttl)| Act::Register { call, ttl }),
        3 => (0..24_u8, prop::option::of(1..90_u8)).prop_map(|(call, ttl)| Act::Confirm { call, ttl }),
        6 => (0..24_u8, seq.clone()).prop_map(|(call, seq)| Act::Release { call, seq }),
        4 => (0..4_u8, seq).prop_map(|(call, seq)| Act::Release { call, seq }),
        2 => (0..24_u8).prop_map(|call| Act::Refresh { call }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(proxy, epoch)| Act::Epoch { proxy, epoch }),
        1 => (0..3_u8, prop::collection::vec(0..30_u8, 0..8), any::<bool>())
            .prop_map(|(proxy, named, end)| Act::Resync { proxy, named, end }),
        4 => (0..300_u32).prop_map(|millis| Act::Pass { millis }),
        3 => (0..3_000_u32).prop_map(|millis| Act::Pass { millis }),
        1 => (0..6_u8).prop_map(|number| Act::Policy { number }),
        1 => Just(Act::Restart),
    ]
}

const PROXIES: [&str; 3] = ["p0", "p1", "p2"];
const TRUNKS: [&str; 3] = ["t0", "t1", "t2"];
const TENANTS: [&str; 2] = ["a", "b"];

/// Six policies that a reload may move between. The last two raise the trunks' rates beyond what their windows were made for.
fn policy(number: u8) -> Policy {
    let (rate, trunk_cps, tenant_cps) = match number {
        1 => (3, 4, 2),
        4 => (9, 40, 5),
        5 => (9, 5000, 5),
        _ => (6, 4, 5),
    };
    let limits = |cps, sessions| GroupLimits { cps: Some(Cps::saturating(cps)), sessions };
    Policy {
        mode: if number == 3 { Mode::Shadow } else { Mode::Enforce },
        rate: Some(Cps::saturating(rate)),
        rate_policy: RatePolicy::Strict,
        trunks: TRUNKS.map(|trunk| (trunk.to_owned(), limits(trunk_cps, Some(5)))).into(),
        tenants: TENANTS.map(|tenant| (tenant.to_owned(), limits(tenant_cps, None))).into(),
        license_types: vec![LicenseType { name: "s".to_owned(), count: Some(14), overage: false, tier: None }],
        default_type_call: Some(0),
        export_control: (number != 2).then(|| ExportControl {
            limit: 10,
            webrtc_limit: 3,
            limit_with_webrtc: 9,
            webrtc: true,
            ..ExportControl::default()
        }),
        leases: Leases { setup_s: 30, talk_s: 60, suspect_grace_s: 5, ..Leases::default() },
        ..Policy::default()
    }
}

/// A gate with windows that are exact to the stamp.
fn rig(number: u8) -> Rig {
    Rig::bounded(policy(number), Bounds { rate_max: Cps::saturating(1_000), ..BOUNDS })
}

struct Story {
    rig: Rig,
    ids: Vec<String>,
    policy: u8,
    account: Account,
    /// Admissions and releases so far, in this process.
    totals: (u64, u64),
    /// Emergencies, reloads and restarts may leave more sessions than a limit.
    forced: bool,
}

impl Story {
    fn new() -> Self {
        Self {
            rig: rig(0),
            ids: (0..30).map(|number| format!("call-{number}")).collect(),
            policy: 0,
            account: Account::default(),
            totals: (0, 0),
            forced: false,
        }
    }

    fn tell(&mut self, act: &Act) {
        let text = |call: u8| self.ids[usize::from(call)].as_str();
        match act {
            Act::Admit { call: number, seq, way: (trunk, tenant), emergency, webrtc, units, ttl } => {
                let admit = Admit {
                    seq: seq.map(u32::from),
                    trunk: trunk.map(|trunk| name(TRUNKS[usize::from(trunk)])),
                    tenant: tenant.map(|tenant| name(TENANTS[usize::from(tenant)])),
                    emergency: *emergency,
                    webrtc: *webrtc,
                    units: u16::from(*units),
                    ttl_s: ttl.map(u32::from),
                    proxy: Some(name(PROXIES[usize::from(number % 3)])),
                    ..call(text(*number))
                };
                self.forced |= *emergency || self.policy == 3;
                let decision = self.account.admit(&self.rig, &admit);
                assert!(decision.admitted || !*emergency, "an emergency call was refused: {decision:?}");
                assert!(decision.admitted || self.policy != 3, "shadow mode refused: {decision:?}");
                assert_eq!(decision.admitted, decision.cause.admits());
                assert_eq!(decision.admitted, decision.sip_status == 0);
            }
            Act::Register { call: number, ttl } => {
                let register = Admit { kind: Kind::Registration, ttl_s: Some(u32::from(*ttl)), ..call(text(*number)) };
                let live = self.rig.gate.call(register.id, self.rig.now);
                self.account.admit(&self.rig, &register);
                if live.is_some() && self.rig.gate.call(register.id, self.rig.now).is_none() {
                    self.account.changed(register.id);
                }
            }
            Act::Confirm { call, ttl } => {
                self.rig.confirm_with(text(*call), None, ttl.map(u32::from));
            }
            Act::Release { call, seq } => {
                let live = self.rig.gate.call(id(text(*call)), self.rig.now);
                let released = match seq {
                    Some(seq) => self.rig.release_seq(text(*call), u32::from(*seq)),
                    None => self.rig.release(text(*call)),
                };
                let may = |live: &CallView| live.seq.zip(*seq).is_none_or(|(live, seq)| u32::from(seq) >= live);
                let live = live.filter(may);
                assert_eq!(released, live.is_some(), "released exactly what was live");
                if let Some(live) = live {
                    self.account.released(&self.rig, id(text(*call)), &live);
                }
            }
            Act::Refresh { call } => {
                self.rig.refresh(text(*call));
            }
            Act::Epoch { proxy, epoch } => {
                self.rig.gate.proxy_epoch(name(PROXIES[usize::from(*proxy)]), u64::from(*epoch), self.rig.now);
            }
            Act::Resync { proxy, named, end } => {
                let before = self.rig.live();
                self.forced |= !named.is_empty();
                let token = self.rig.gate.resync_begin(name(PROXIES[usize::from(*proxy)]), self.rig.now).unwrap();
                for call in named {
                    let live = self.rig.gate.call(id(text(*call)), self.rig.now);
                    self.rig.gate.resync_add(token, id(text(*call)), self.rig.now).unwrap();
                    if live.is_none() && self.rig.gate.call(id(text(*call)), self.rig.now).is_some() {
                        self.account.changed(id(text(*call)));
                    }
                }
                if *end {
                    self.rig.gate.resync_end(token, self.rig.now).unwrap();
                } else {
                    self.rig.gate.resync_abort(token, self.rig.now).unwrap();
                    assert!(self.rig.live() >= before, "an aborted resync freed something");
                }
            }
            Act::Pass { millis } => {
                self.rig.pass_millis(u64::from(*millis));
                self.rig.housekeep();
            }
            Act::Policy { number } => {
                let before = self.rig.live();
                self.policy = *number;
                self.rig.gate.set_policy(policy(*number), self.rig.now).unwrap();
                assert_eq!(self.rig.live(), before, "a reload dropped a call");
                // A lowered limit, or calls that go uncounted until now, may stand above a limit.
                self.forced = true;
            }
            Act::Restart => self.restart(),
        }
        self.check();
    }

    /// The process dies and comes back from its journal at once.
    fn restart(&mut self) {
        // Not just on a window's edge, where one microsecond more or less is either algorithm's right.
        self.rig.now.tick = self.rig.now.tick.plus_nanos(50_000);
        let mut records = Vec::new();
        self.rig.gate.snapshot(0, 0, &mut |record| records.push(record.clone()));
        records.extend(self.rig.records());
        let mut before: Vec<_> =
            self.rig.gate.calls(0, 1_000, self.rig.now).0.iter().map(|call| (call.key, call.seq)).collect();
        let latched = self.rig.gate.resources.watermark.mark().view().latched;
        let mut next = rig(self.policy);
        next.now = self.rig.now;
        let recovery = next.gate.recover(records.clone(), 0, next.now);
        next.gate.with_journal(0, |journal| journal.extend(records));
        let mut after: Vec<_> = next.gate.calls(0, 1_000, next.now).0.iter().map(|call| (call.key, call.seq)).collect();
        before.sort();
        after.sort();
        if recovery.lapsed == 0 {
            assert_eq!(before, after, "calls differ after a restart");
        }
        assert!(next.gate.resources.watermark.mark().view().latched || !latched, "a restart opened the latch");
        self.account.restarted();
        self.rig = next;
        self.totals = (0, 0);
        self.forced = true;
    }

    fn check(&mut self) {
        let rig = &self.rig;
        let status = rig.status();
        let (calls, _) = rig.gate.calls(0, 1_000, rig.now);
        assert_eq!(calls.len(), usize::try_from(status.calls_live + status.registrations_live).unwrap());
        // What the live calls hold is what the limits say is in use.
        let count = |of: &dyn Fn(&CallView) -> u32| calls.iter().map(of).sum::<u32>();
        let counted = |call: &CallView| !(call.forced && call.license_tier.is_none() && self.policy == 3);
        for trunk in TRUNKS {
            let held = count(&|call| u32::from(call.trunk.as_deref() == Some(trunk) && !call.registration));
            let used = rig.used(&format!("trunk-sessions:{trunk}"));
            assert!(used <= held, "more sessions of {trunk} than its calls: {used} > {held}");
            if self.policy != 3 {
                assert_eq!(used, held, "sessions of {trunk}");
            }
        }
        let units = count(&|call| if call.registration || !counted(call) { 0 } else { u32::from(call.units) });
        if self.policy != 3 {
            assert_eq!(rig.used("sessions:s"), units);
        }
        if self.policy == 0 || self.policy == 1 {
            let total = rig.used("export-control") + rig.used("webrtc");
            assert_eq!(total, status.calls_live + status.registrations_live, "everything counts under export control");
        }
        self.account.check(rig);
        if !self.forced {
            assert!(rig.used("sessions:s") <= 14 && rig.used("export-control") <= 9 && rig.used("webrtc") <= 3);
        }
        // Totals never fall.
        let totals = (status.admitted_total, status.released_total);
        assert!(totals.0 >= self.totals.0 && totals.1 >= self.totals.1, "a total fell: {totals:?}");
        self.totals = totals;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn slots_add_up_after_every_step_of_any_story(acts in prop::collection::vec(act(), 1..120)) {
        let mut story = Story::new();
        for act in &acts {
            story.tell(act);
        }
        // Everybody falls silent: every lease ends, every slot is free.
        story.tell(&Act::Policy { number: 0 });
        for _ in 0..20 {
            story.rig.live_through(10);
        }
        prop_assert_eq!(story.rig.live(), 0);
        for limit in story.rig.status().limits {
            prop_assert!(limit.name == "memories" || limit.used == 0, "leaked: {:?}", limit);
        }
    }

    #[test]
    fn one_seed_answers_alike(acts in prop::collection::vec(act(), 1..60)) {
        let tell = || {
            let mut story = Story::new();
            acts.iter().for_each(|act| story.tell(act));
            (story.rig.status(), story.rig.records())
        };
        prop_assert_eq!(tell(), tell());
    }
}
