//! Small pieces of text that people read.

use crate::license::Effect;
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

/// What a verdict does to calls now.
#[must_use]
pub(super) const fn on_calls(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict { calls: Some(_), .. } => effect(Effect::RejectNew),
        Verdict { registrations: Some(_), .. } => effect(Effect::RejectNewRegistrations),
        Verdict { configuration: Some(_), .. } => effect(Effect::ConfigFreeze),
        Verdict { calls: None, registrations: None, configuration: None } => "none: new calls are admitted",
    }
}
