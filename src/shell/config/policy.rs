//! The configuration as the gate reads it: a policy that a reload can swap, and bounds that are fixed at start.

use std::collections::BTreeMap;

use super::{Config, ExportCounts, Group, GroupLimits, Mode, RatePolicy};
use crate::admission::{self, Bounds, Cause, Policy};
use crate::license::{RateCap, TypeKind};

/// The session-license type that a call draws on that names none, where the profile has none of its own.
pub const DEFAULT_TYPE: &str = "session";

impl Config {
    /// The settings for the gate, with the configured counts as limits. Whether licensing sets a cap at all is the
    /// verdict's business ([`crate::node::policy_under`]): where it doesn't, the caller clears `rate` and the types' counts.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let admission = &self.admission;
        let types = self.license_types();
        let place_of =
            |name: &str| types.iter().position(|of| of.name == name).and_then(|place| u16::try_from(place).ok());
        Policy {
            mode: match admission.mode {
                Mode::Enforce => admission::Mode::Enforce,
                Mode::Shadow => admission::Mode::Shadow,
            },
            rate: Some(self.license.count.rate()),
            rate_policy: match admission.rate_policy {
                RatePolicy::Strict => admission::RatePolicy::Strict,
                RatePolicy::Burst(burst) => admission::RatePolicy::Burst(burst),
            },
            rate_enforced: self.license.rate_cap == RateCap::Enforce,
            headroom_percent: admission.headroom_percent,
            default_type_call: place_of(self.default_call_type()),
            default_type_registration: self.profile_default(TypeKind::Registration).and_then(place_of),
            license_types: self.license_types(),
            export_control: self.export_control(),
            trunks: groups(&self.trunk),
            tenants: groups(&self.tenant),
            trunk_default: limits(admission.trunk_default),
            tenant_default: limits(admission.tenant_default),
            strict_trunks: admission.strict_trunks,
            leases: self.leases(),
            refusals: self.refusals(),
        }
    }

    /// The bounds for the gate.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            calls_max: self.admission.calls_max,
            memories_max: self.admission.memories_max,
            id_texts_max: self.admission.id_texts_max,
            rate_max: self.node.max_call_rate,
            shards: self.listen.reactors.next_power_of_two(),
            ..Bounds::default()
        }
    }

    /// The profile's session types first, then the operator's own. There is always one for calls that name none.
    fn license_types(&self) -> Vec<admission::LicenseType> {
        let license = &self.license;
        let mut types: Vec<admission::LicenseType> = self
            .profile
            .session_types()
            .map(|of| admission::LicenseType {
                name: of.name.clone(),
                count: None,
                overage: license.overage,
                tier: of.tier.as_ref().map(|tier| admission::Tier { family: tier.family.clone(), rank: tier.rank }),
            })
            .collect();
        if self.profile_default(TypeKind::Call).is_none() && !types.iter().any(|of| of.name == DEFAULT_TYPE) {
            types.push(admission::LicenseType {
                name: DEFAULT_TYPE.to_owned(),
                count: None,
                overage: license.overage,
                tier: None,
            });
        }
        let default = self.default_call_type();
        if let Some(of) = types.iter_mut().find(|of| of.name == default) {
            of.count = license.sessions;
        }
        for (name, own) in &license.types {
            let overage = own.overage.unwrap_or(license.overage);
            let tier = own.tier.as_ref().map(|tier| admission::Tier { family: tier.family.clone(), rank: tier.rank });
            match types.iter_mut().find(|of| of.name == *name) {
                Some(of) => {
                    of.count = own.count.or(of.count);
                    of.overage = overage;
                    of.tier = tier.or(of.tier.take());
                }
                None => types.push(admission::LicenseType { name: name.clone(), count: own.count, overage, tier }),
            }
        }
        types
    }

    /// The type that a call draws on that names none; `license.sessions` counts it.
    pub(super) fn default_call_type(&self) -> &str {
        self.profile_default(TypeKind::Call).unwrap_or(DEFAULT_TYPE)
    }

    fn profile_default(&self, kind: TypeKind) -> Option<&str> {
        self.profile.session_types().find(|of| of.default_for.contains(&kind)).map(|of| of.name.as_str())
    }

    fn export_control(&self) -> Option<admission::ExportControl> {
        let export = &self.admission.export_control;
        export.enabled.then_some(admission::ExportControl {
            limit: export.limit,
            limit_with_webrtc: export.limit_with_webrtc,
            webrtc_limit: export.webrtc_limit,
            webrtc: export.webrtc,
            counts: match export.counts {
                ExportCounts::All => admission::ExportCounts::All,
                ExportCounts::Encrypted => admission::ExportCounts::Encrypted,
            },
        })
    }

    fn leases(&self) -> admission::Leases {
        let leases = &self.admission.leases;
        admission::Leases {
            setup_s: leases.setup.0,
            talk_s: leases.talk.0,
            registration_grace_s: leases.registration_grace.0,
            suspect_grace_s: self.admission.suspect_grace.0,
            resync_s: leases.resync.0,
            retransmission_s: leases.retransmission.0,
            retransmissions_max: leases.retransmissions_max,
            refusal_s: leases.refusal.0,
            released_s: leases.released.0,
            tombstone_s: leases.tombstone.0,
        }
    }

    fn refusals(&self) -> [admission::RefusalStatus; Cause::COUNT] {
        let mut refusals = Policy::default().refusals;
        for (slot, cause) in refusals.iter_mut().zip(Cause::ALL) {
            if let Some(told) = self.admission.status.get(cause.name()) {
                let seconds = |span: super::Seconds| u16::try_from(span.0).unwrap_or(u16::MAX);
                *slot = admission::RefusalStatus {
                    sip_status: told.sip_status,
                    retry_after_s: (told.retry_after.0 > 0).then(|| seconds(told.retry_after)),
                    retry_spread_s: seconds(told.spread),
                };
            }
        }
        refusals
    }
}

fn groups(groups: &[Group]) -> BTreeMap<String, admission::GroupLimits> {
    let limits = |group: &Group| admission::GroupLimits { cps: group.cps, sessions: group.sessions };
    groups.iter().map(|group| (group.name.clone(), limits(group))).collect()
}

const fn limits(of: GroupLimits) -> admission::GroupLimits {
    admission::GroupLimits { cps: of.cps, sessions: of.sessions }
}
