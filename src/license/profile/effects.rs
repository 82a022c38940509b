//! What licensing states do to new calls, and what evaluation allows.

use serde::{Deserialize, Serialize};

use super::timing::HOUR_S;

/// Whether a call rate above the licensed one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateCap {
    /// Refused.
    Enforce,
    /// Admitted, and counted.
    Observe,
}

/// What a licensing state does to new calls. Established calls and live registrations are never affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// New calls and new registrations are refused.
    RejectNew,
    /// New registrations are refused; calls pass.
    RejectNewRegistrations,
    /// Calls and registrations pass; configuration changes are refused.
    ConfigFreeze,
    /// Everything passes; people are told.
    #[serde(alias = "notify")]
    AllowNotify,
}

/// While licensing is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unconfigured {
    /// What it does.
    pub effect: Effect,
}

/// The evaluation period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Hours of running time.
    pub hours: u32,
    /// In which states it runs.
    pub ticks_in: Vec<TicksIn>,
    /// What it lets through.
    pub capability: Capability,
    /// The time between a stop and the next start counts too.
    #[serde(default)]
    pub count_offline: bool,
}

/// A state in which evaluation time runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicksIn {
    /// Not identified to a license manager.
    Unidentified,
    /// Not registered: the same state, in the words of other products.
    Unregistered,
    /// Registered, and not authorized yet.
    RegisteredUnauth,
}

impl Evaluation {
    /// Seconds of running time.
    #[must_use]
    pub fn limit_s(&self) -> u64 {
        u64::from(self.hours) * HOUR_S
    }

    /// Time runs while nothing is registered.
    #[must_use]
    pub fn runs_unregistered(&self) -> bool {
        self.ticks_in.iter().any(|state| matches!(state, TicksIn::Unidentified | TicksIn::Unregistered))
    }

    /// Time runs while registered and not authorized.
    #[must_use]
    pub fn runs_unauthorized(&self) -> bool {
        self.ticks_in.contains(&TicksIn::RegisteredUnauth)
    }
}

/// What evaluation lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// The configured count.
    Requested,
    /// Not limited by license; use is counted.
    Normal,
    /// Not limited by license, at the top tier.
    Unlimited,
}

/// When evaluation is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationExpired {
    /// What it does.
    pub effect: Effect,
    /// What ends it.
    pub exit: ExitBy,
}

/// What ends the state after evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitBy {
    /// Registering with a license manager.
    Registered,
    /// A grant of licenses.
    Granted,
}

/// Use above the licensed count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overage {
    /// It is admitted unless the operator says otherwise.
    pub default: bool,
    /// The operator can say otherwise.
    pub control: bool,
}

/// The export-control limit that comes with the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardCap {
    /// The product has one; the configuration can switch one on where it hasn't.
    pub enabled: bool,
    /// Calls and registrations together, with WebRTC off.
    #[serde(default = "hard_cap_limit")]
    pub limit: u32,
    /// The same with WebRTC on.
    #[serde(default = "hard_cap_limit_with_webrtc")]
    pub limit_with_webrtc: u32,
    /// WebRTC sessions, counted apart.
    #[serde(default = "hard_cap_webrtc_limit")]
    pub webrtc_limit: u32,
    /// The entitlement that lifts it, together with the export flag of the token; see [`Profile::export_tag`](super::Profile::export_tag).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entitlement_tag: Option<String>,
}

const fn hard_cap_limit() -> u32 {
    2500
}

const fn hard_cap_limit_with_webrtc() -> u32 {
    2244
}

const fn hard_cap_webrtc_limit() -> u32 {
    256
}

/// What a state does, and what it turns into after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consequence {
    /// What it does; during overage nothing is refused.
    pub effect: Effect,
    /// For so many hours nothing is refused, then `then` takes effect. Left out: `effect` stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage_hours: Option<u32>,
    /// What takes effect when the overage ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Effect>,
}

impl Consequence {
    /// How long overage lasts, in seconds, and what follows; `None` if `effect` stays.
    #[must_use]
    pub fn overage(&self) -> Option<(u64, Effect)> {
        Some((u64::from(self.overage_hours?) * HOUR_S, self.then?))
    }
}

/// More is used than was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfCompliance {
    /// What it does.
    pub effect: Effect,
    /// As in [`Consequence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage_hours: Option<u32>,
    /// As in [`Consequence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Effect>,
    /// Over-use that lasts for so many minutes is reported at once; 0: no watch of one's own, the manager's answer says.
    #[serde(default)]
    pub tolerance_min: u32,
    /// Over-use of more than so many minutes raises the second warning.
    #[serde(default)]
    pub warn_min: u32,
}

impl OutOfCompliance {
    /// What it does, and what it turns into.
    #[must_use]
    pub const fn consequence(&self) -> Consequence {
        Consequence { effect: self.effect, overage_hours: self.overage_hours, then: self.then }
    }

    /// Seconds of over-use until it is reported at once; `None`: over-use is not watched here.
    #[must_use]
    pub fn tolerance_s(&self) -> Option<u64> {
        (self.tolerance_min > 0).then(|| u64::from(self.tolerance_min) * 60)
    }

    /// Seconds of over-use beyond which the second warning is raised.
    #[must_use]
    pub fn warn_s(&self) -> u64 {
        u64::from(self.warn_min) * 60
    }
}

impl Unconfigured {
    /// As a consequence that stays.
    #[must_use]
    pub const fn consequence(&self) -> Consequence {
        Consequence { effect: self.effect, overage_hours: None, then: None }
    }
}
