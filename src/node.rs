//! Joins licensing and limits: what the licensing agent allows becomes the settings of the gate. PURE.
//!
//! `admission` and `license` know nothing of one another; here is the one place that knows both. What must stay true: a
//! number that is granted never raises a limit above what the operator configured; only being uncapped lifts one, as
//! evaluation, overage or what lifts export control do; shrinking a limit
//! drops no call (the gate's own law); a type that licensing doesn't name keeps what is configured.

mod pools;

pub use self::pools::NodePools;

use crate::admission::{ExportControl, NodePool, Policy, Usage};
use crate::license::Profile;
use crate::license::agent::{Limits, TypeCap, UsageNow};
use crate::units::Cps;

/// The settings of the gate under these limits.
///
/// ```
/// use callgate::admission::Policy;
/// use callgate::license::agent::{Limits, TypeCap};
/// use callgate::license::{BuiltinProfile, Profile};
/// use callgate::limits::Verdict;
/// use callgate::node::policy_under;
/// use callgate::units::Cps;
///
/// let profile = Profile::builtin(BuiltinProfile::Open).unwrap();
/// let limits = Limits {
///     verdict: Verdict::default(),
///     types: vec![("cps".to_owned(), TypeCap::Units(40))],
///     overage_allowed: false,
///     export_lifted: false,
/// };
/// let policy = policy_under(Policy { rate: Cps::new(100), ..Policy::default() }, &limits, &profile);
/// assert_eq!(policy.rate, Cps::new(40));
/// ```
#[must_use]
pub fn policy_under(mut configured: Policy, limits: &Limits, profile: &Profile) -> Policy {
    let cap_of = |name: &str| limits.types.iter().find(|(of, _)| of == name).map(|(_, cap)| *cap);
    if let Some(cap) = profile.rate_type().and_then(|licensed| cap_of(&licensed.name)) {
        configured.rate = match cap {
            TypeCap::Requested => configured.rate,
            TypeCap::Uncapped => None,
            TypeCap::Units(units) => Some(at_most(configured.rate, units)),
        };
    }
    for license_type in &mut configured.license_types {
        license_type.count = match cap_of(&license_type.name) {
            None | Some(TypeCap::Requested) => license_type.count,
            Some(TypeCap::Uncapped) => None,
            Some(TypeCap::Units(units)) => Some(license_type.count.map_or(units, |count| count.min(units))),
        };
        license_type.overage &= limits.overage_allowed;
    }
    if limits.export_lifted {
        configured.export_control = configured.export_control.filter(|export| is_operators_own(export, profile));
    }
    configured
}

/// What a node brings into its cluster of one license type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// So many units: the grant's, or what is configured where licensing caps nothing.
    Units(u32),
    /// Licensing doesn't limit it just now: the gate doesn't either, and there is nothing to lend or to borrow.
    Uncapped,
}

/// How a node takes part in its cluster.
#[derive(Debug, Clone, Copy)]
pub struct Clustered<'a> {
    /// The pools that nodes share.
    pub pools: &'a [NodePool],
    /// The most calls per second of this host, whatever it borrows.
    pub host_max: Cps,
    /// This node's part of export control's limit with WebRTC off, and that limit as all nodes have it. Of the limits with
    /// WebRTC on it brings the same fraction, rounded down: the parts of all never exceed the whole.
    pub export_share: (u32, u32),
}

impl Clustered<'_> {
    fn export_part(&self, limit: u32) -> u32 {
        let (share, whole) = self.export_share;
        let part = u64::from(limit) * u64::from(share.min(whole)) / u64::from(whole.max(1));
        u32::try_from(part).unwrap_or(limit)
    }
}

/// The settings of the gate where nodes share pools, and what this node brings of each of those, in their order.
///
/// Of what is shared a grant becomes the home count, and the gate's limit is the cluster's. The configured number is what is asked
/// for; what bounds this host, whatever it borrows, is `host_max` calls per second, nothing for sessions, and under export control
/// the whole cluster's limit. What isn't shared
/// is as [`policy_under`] says.
#[must_use]
pub fn clustered_policy_under(
    configured: Policy,
    limits: &Limits,
    profile: &Profile,
    clustered: &Clustered<'_>,
) -> (Policy, Vec<Home>) {
    let mut policy = policy_under(configured, limits, profile);
    let homes = clustered.pools.iter().map(|pool| match pool {
        NodePool::Rate => {
            let home = policy.rate.map(Cps::get);
            let licensed = profile.rate_type().and_then(|licensed| granted(limits, &licensed.name));
            if home.is_some() {
                policy.rate = Some(clustered.host_max);
            }
            home_of(licensed.or(home), home)
        }
        NodePool::Type(number) => {
            let Some(of_type) = policy.license_types.get_mut(usize::from(*number)) else { return Home::Units(0) };
            let home = of_type.count;
            let licensed = granted(limits, &of_type.name);
            if home.is_some() {
                of_type.count = Some(u32::MAX);
            }
            home_of(licensed.or(home), home)
        }
        NodePool::Export => match policy.export_control {
            Some(export) => {
                let limit = if export.webrtc { export.limit_with_webrtc } else { export.limit };
                Home::Units(clustered.export_part(limit))
            }
            None => Home::Uncapped,
        },
        NodePool::Webrtc => match policy.export_control {
            Some(export) => Home::Units(clustered.export_part(if export.webrtc { export.webrtc_limit } else { 0 })),
            None => Home::Uncapped,
        },
    });
    let homes = homes.collect();
    (policy, homes)
}

/// The units that a grant names.
fn granted(limits: &Limits, name: &str) -> Option<u32> {
    limits.types.iter().find(|(of, _)| of == name).and_then(|(_, cap)| match cap {
        TypeCap::Units(units) => Some(*units),
        TypeCap::Requested | TypeCap::Uncapped => None,
    })
}

fn home_of(units: Option<u32>, limited: Option<u32>) -> Home {
    match (units, limited) {
        (Some(units), Some(_)) => Home::Units(units),
        (_, None) | (None, _) => Home::Uncapped,
    }
}

/// Fewer calls per second than configured, never more.
fn at_most(configured: Option<Cps>, units: u32) -> Cps {
    let units = Cps::saturating(units);
    configured.map_or(units, |configured| configured.min(units))
}

/// A cap that the operator set below the product's: no export entitlement lifts what the operator wants.
const fn is_operators_own(export: &ExportControl, profile: &Profile) -> bool {
    let product = &profile.hard_cap;
    if export.webrtc {
        export.limit_with_webrtc < product.limit_with_webrtc || export.webrtc_limit < product.webrtc_limit
    } else {
        export.limit < product.limit
    }
}

/// What is used, in the agent's words.
#[must_use]
pub fn usage_now(usage: &Usage, profile: &Profile) -> Vec<UsageNow> {
    let rate = profile.rate_type().map(|licensed| UsageNow {
        type_name: licensed.name.clone(),
        current: usage.rate.now,
        peak: usage.rate.peak,
        next: None,
    });
    let types = usage.types.iter().map(|(name, used)| UsageNow {
        type_name: name.clone(),
        current: used.now,
        peak: used.peak,
        next: None,
    });
    rate.into_iter().chain(types).collect()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::{Admit, Bounds, CallId, ExportCounts, Gate, LicenseType, Used};
    use crate::license::BuiltinProfile;
    use crate::limits::{Verdict, VerdictCause};
    use crate::units::{HashKey, Now, Tick, UnixMillis};

    fn open() -> Profile {
        Profile::builtin(BuiltinProfile::Open).unwrap()
    }

    fn session(count: Option<u32>, overage: bool) -> LicenseType {
        LicenseType { name: "session".to_owned(), count, overage, tier: None }
    }

    fn configured(cps: u32, sessions: Option<u32>) -> Policy {
        Policy {
            rate: Cps::new(cps),
            license_types: vec![session(sessions, true)],
            default_type_call: Some(0),
            ..Policy::default()
        }
    }

    fn limits(cps: TypeCap, sessions: TypeCap) -> Limits {
        Limits {
            verdict: Verdict::default(),
            types: vec![("cps".to_owned(), cps), ("session".to_owned(), sessions)],
            overage_allowed: true,
            export_lifted: false,
        }
    }

    fn export(limit: u32, webrtc: bool) -> ExportControl {
        ExportControl { limit, limit_with_webrtc: 2244, webrtc_limit: 256, webrtc, counts: ExportCounts::All }
    }

    #[test]
    fn a_smaller_grant_drops_no_call_and_refuses_the_next() {
        let profile = open();
        let now = Now { tick: Tick::from_secs(10), wall: UnixMillis(0) };
        let policy = policy_under(configured(100, Some(5)), &limits(TypeCap::Requested, TypeCap::Requested), &profile);
        let gate: Gate<()> = Gate::new(policy, Bounds::default(), HashKey::from_bytes([7; 16]), 1, vec![()]);
        for id in [b"a", b"b", b"c"] {
            assert!(gate.admit(&Admit::call(CallId::new(id).unwrap()), now).admitted);
        }
        let smaller = Limits { overage_allowed: false, ..limits(TypeCap::Units(50), TypeCap::Units(2)) };
        gate.set_policy(policy_under(configured(100, Some(5)), &smaller, &profile), now).unwrap();
        assert_eq!(gate.status(now).calls_live, 3);
        assert!(!gate.admit(&Admit::call(CallId::new(b"d").unwrap()), now).admitted);
        let larger = limits(TypeCap::Units(50), TypeCap::Units(5));
        gate.set_policy(policy_under(configured(100, Some(5)), &larger, &profile), now).unwrap();
        assert!(gate.admit(&Admit::call(CallId::new(b"e").unwrap()), now).admitted);
    }

    #[test]
    fn in_a_cluster_a_grant_is_what_the_node_brings_and_the_hosts_ceiling_its_cap() {
        let pools = [NodePool::Rate, NodePool::Type(0)];
        let max = Cps::new(300).unwrap();
        let under = |configured, limits: &Limits, pools: &[NodePool]| {
            let clustered = Clustered { pools, host_max: max, export_share: (0, 2500) };
            clustered_policy_under(configured, limits, &open(), &clustered)
        };
        let granted = limits(TypeCap::Units(400), TypeCap::Units(2));
        let (policy, homes) = under(configured(100, None), &granted, &pools);
        assert_eq!(homes, [Home::Units(400), Home::Units(2)], "home may be more than this host may use");
        assert_eq!((policy.rate, policy.license_types[0].count), (Some(max), Some(u32::MAX)));
        let asked = limits(TypeCap::Requested, TypeCap::Uncapped);
        let (policy, homes) = under(configured(100, Some(5)), &asked, &pools);
        assert_eq!(homes, [Home::Units(100), Home::Uncapped]);
        assert_eq!((policy.rate, policy.license_types[0].count), (Some(max), None));
        let (policy, homes) = under(configured(100, Some(5)), &granted, &pools[..1]);
        assert_eq!(
            (policy.license_types[0].count, homes.len()),
            (Some(2), 1),
            "what isn't shared is limited by its grant"
        );
    }

    #[test]
    fn parts_of_export_control_never_exceed_the_whole_with_webrtc_on_or_off() {
        let pools = [NodePool::Export, NodePool::Webrtc];
        let sums = |shares: &[u32], webrtc: bool| {
            let (mut general, mut apart) = (0, 0);
            for share in shares {
                let policy = Policy { export_control: Some(export(2500, webrtc)), ..configured(100, None) };
                let clustered =
                    Clustered { pools: &pools, host_max: Cps::saturating(100), export_share: (*share, 2500) };
                let limits = limits(TypeCap::Requested, TypeCap::Requested);
                let (policy, homes) = clustered_policy_under(policy, &limits, &open(), &clustered);
                assert!(policy.export_control.is_some(), "the host's cap stays the whole");
                let [Home::Units(of_general), Home::Units(of_apart)] = homes[..] else { panic!("{homes:?}") };
                (general, apart) = (general + of_general, apart + of_apart);
            }
            (general, apart)
        };
        assert_eq!(sums(&[1250, 1250], false), (2500, 0));
        assert_eq!(sums(&[1250, 1250], true), (2244, 256));
        let (general, apart) = sums(&[834, 833, 833], true);
        assert!((2240..=2244).contains(&general) && (253..=256).contains(&apart), "{general} {apart}");
    }

    #[test]
    fn a_type_that_licensing_does_not_name_keeps_what_is_configured() {
        let none = Limits { types: Vec::new(), ..limits(TypeCap::Uncapped, TypeCap::Uncapped) };
        assert_eq!(policy_under(configured(100, Some(5)), &none, &open()), configured(100, Some(5)));
        // A product that doesn't license the rate leaves it to the operator.
        let rooms = Profile::builtin(BuiltinProfile::Expressway).unwrap();
        let uncapped = policy_under(configured(100, None), &limits(TypeCap::Units(5), TypeCap::Uncapped), &rooms);
        assert_eq!(uncapped.rate, Cps::new(100));
    }

    #[test]
    fn overage_needs_the_operators_word_and_the_licenses() {
        for (operator, licenses) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut policy = configured(100, Some(5));
            policy.license_types[0].overage = operator;
            let limits = Limits { overage_allowed: licenses, ..limits(TypeCap::Requested, TypeCap::Requested) };
            let policy = policy_under(policy, &limits, &open());
            assert_eq!(policy.license_types[0].overage, operator && licenses);
        }
    }

    #[test]
    fn export_control_is_lifted_only_by_licensing_and_not_where_the_operator_lowered_it() {
        let profile = open();
        for (lifted, control, stays) in [
            (false, export(2500, false), true),
            (true, export(2500, false), false),
            (true, export(2500, true), false),
            (true, export(1000, false), true),
        ] {
            let policy = Policy { export_control: Some(control), ..configured(100, None) };
            let limits = Limits { export_lifted: lifted, ..limits(TypeCap::Requested, TypeCap::Requested) };
            let policy = policy_under(policy, &limits, &profile);
            assert_eq!(policy.export_control, stays.then_some(control));
        }
    }

    #[test]
    fn usage_carries_the_profiles_name_for_the_rate() {
        let used = Used { now: 1, peak: 2 };
        let usage = Usage { rate: used, types: vec![("session".to_owned(), used)] };
        let names = |profile: &Profile| -> Vec<String> {
            usage_now(&usage, profile).into_iter().map(|of| of.type_name).collect()
        };
        assert_eq!(names(&open()), ["cps", "session"]);
        assert_eq!(names(&Profile::builtin(BuiltinProfile::Expressway).unwrap()), ["session"]);
    }

    fn any_cap() -> impl Strategy<Value = TypeCap> {
        prop_oneof![Just(TypeCap::Requested), Just(TypeCap::Uncapped), (0_u32..5000).prop_map(TypeCap::Units)]
    }

    proptest! {
        #[test]
        fn no_granted_number_raises_a_limit_and_each_caps_what_it_names_but_being_uncapped_lifts_it(
            cps in 0_u32..2500,
            sessions in prop::option::of(0_u32..1000),
            cps_cap in any_cap(),
            session_cap in any_cap(),
            overage in any::<bool>(),
            refused in any::<bool>(),
        ) {
            let mut limits = limits(cps_cap, session_cap);
            limits.overage_allowed = overage;
            limits.verdict.calls = refused.then_some(VerdictCause::Revoked);
            let policy = policy_under(configured(cps, sessions), &limits, &open());
            match cps_cap {
                TypeCap::Uncapped => prop_assert_eq!(policy.rate, None),
                TypeCap::Requested => prop_assert_eq!(policy.rate, Cps::new(cps)),
                TypeCap::Units(units) => prop_assert_eq!(policy.rate, Cps::new(cps.min(units))),
            }
            match session_cap {
                TypeCap::Uncapped => prop_assert_eq!(policy.license_types[0].count, None),
                TypeCap::Requested => prop_assert_eq!(policy.license_types[0].count, sessions),
                TypeCap::Units(units) => {
                    prop_assert_eq!(policy.license_types[0].count, Some(sessions.map_or(units, |of| of.min(units))));
                }
            }
            // Everything else is the operator's.
            let kept = Policy {
                rate: Cps::new(cps),
                license_types: vec![session(sessions, true)],
                ..policy
            };
            prop_assert_eq!(kept, configured(cps, sessions));
        }
    }
}
