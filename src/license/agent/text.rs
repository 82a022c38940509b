//! Small pieces of text that people read.

use super::action::{Limits, TypeCap};
use super::enforcement::overage_wanted_of;
use super::state::Setup;
use crate::license::{Effect, RateCap, TypeUnit};
use crate::limits::Verdict;

/// What an effect does to calls.
#[must_use]
pub(super) const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::RejectNew => "new calls and registrations are refused; emergency calls are admitted",
        Effect::RejectNewRegistrations => "new registrations are refused; calls are admitted",
        Effect::ConfigFreeze => "calls are admitted; configuration changes are refused",
        Effect::AllowNotify => "new calls are admitted, with an alarm",
    }
}

/// What the counts do to calls, beside the verdict.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps<'a> {
    /// Nothing was granted of these: what needs them is refused.
    pub(crate) nothing: Vec<&'a str>,
    /// At most so many units of these.
    pub(crate) granted: Vec<(&'a str, u32)>,
    /// Some are refused beyond what is requested.
    pub(crate) requested: bool,
    /// Use of some beyond what was granted is admitted and counted.
    pub(crate) counted_above_grant: bool,
    /// Likewise beyond what is requested.
    pub(crate) counted_above_request: bool,
}

impl<'a> Caps<'a> {
    #[must_use]
    pub(crate) fn of(limits: &'a Limits, setup: &Setup) -> Self {
        let mut caps = Self::default();
        for (name, cap) in &limits.types {
            let unit = setup.profile.type_named(name).map_or(TypeUnit::Sessions, |licensed| licensed.unit);
            let refused = match unit {
                TypeUnit::CallsPerSecond => setup.profile.rate_cap == RateCap::Enforce,
                TypeUnit::Sessions => !(limits.overage_allowed && overage_wanted_of(setup, name)),
                TypeUnit::Capacity => continue,
            };
            let wanted =
                setup.requested.iter().any(|of| of.type_name == *name && of.units.is_some_and(|units| units > 0));
            match (cap, refused) {
                (TypeCap::Uncapped, _) => {}
                (TypeCap::Units(0), true) if wanted => caps.nothing.push(name),
                (TypeCap::Units(units), true) => caps.granted.push((name, *units)),
                (TypeCap::Units(_), false) => caps.counted_above_grant = true,
                (TypeCap::Requested, true) => caps.requested = true,
                (TypeCap::Requested, false) => caps.counted_above_request = true,
            }
        }
        caps
    }
}

/// What is in force does to calls now.
#[must_use]
pub(super) fn on_calls(limits: &Limits, setup: &Setup) -> String {
    let Caps { nothing, granted, .. } = Caps::of(limits, setup);
    let Verdict { calls, registrations, configuration } = limits.verdict;
    let by_counts = if calls.is_some() {
        None
    } else if !nothing.is_empty() {
        Some(nothing_granted(&nothing))
    } else if !granted.is_empty() {
        Some(format!("new calls are admitted{}", up_to(&granted)))
    } else {
        None
    };
    let Some(mut told) = by_counts else { return by_verdict(limits.verdict).to_owned() };
    // Calls are capped, and what is in force refuses something else beside.
    if registrations.is_some() {
        told.push_str("; new registrations are refused");
    }
    if configuration.is_some() {
        told.push_str("; configuration changes are refused");
    }
    told
}

/// Behind what is admitted: the caps that a grant sets.
#[must_use]
pub(crate) fn up_to(granted: &[(&str, u32)]) -> String {
    let granted: Vec<String> = granted.iter().map(|(name, units)| format!("{units} {name}")).collect();
    format!(", up to what was granted ({})", granted.join(", "))
}

/// The types of which nothing was granted although they are asked for, where that refuses calls.
#[must_use]
pub fn nothing_of<'a>(limits: &'a Limits, setup: &Setup) -> Vec<&'a str> {
    Caps::of(limits, setup).nothing
}

/// What needs a type of which nothing was granted.
#[must_use]
pub fn nothing_granted(types: &[&str]) -> String {
    format!("new calls that need {} are refused: none was granted; emergency calls are admitted", types.join(", "))
}

const fn by_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict { calls: Some(_), .. } => effect(Effect::RejectNew),
        Verdict { registrations: Some(_), .. } => effect(Effect::RejectNewRegistrations),
        Verdict { configuration: Some(_), .. } => effect(Effect::ConfigFreeze),
        Verdict { calls: None, registrations: None, configuration: None } => "none: new calls are admitted",
    }
}
