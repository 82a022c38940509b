//! What one key cannot tell by its type: ranges, and keys that must agree. The first thing wrong is told.

use std::fmt;

use super::{
    Consequence, DeregisteredEvaluation, Effect, LicensedType, Profile, ProfileError, TAG_BYTES_MAX, TypeUnit,
    is_tag_char, types,
};

/// The most hours that a profile may give or wait: a hundred years.
const HOURS_MAX: u32 = 876_600;

/// The most days: the same.
const DAYS_MAX: u32 = 36_525;

/// The longest time between two tries or reports, in seconds: 30 days.
const RETRY_S_MAX: u32 = 2_592_000;

/// The most license types of one profile.
const TYPES_MAX: usize = 64;

/// The longest name of a license type, in bytes: what `TYPE` accepts.
const TYPE_NAME_BYTES_MAX: usize = 128;

/// The longest word, in bytes.
const WORD_BYTES_MAX: usize = 64;

type Checked = Result<(), ProfileError>;

/// One profile under examination.
pub(super) struct Validation<'a> {
    pub(super) profile: &'a Profile,
    pub(super) origin: &'a str,
}

fn is_word(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

impl Validation<'_> {
    pub(super) fn run(&self) -> Checked {
        self.identity()?;
        self.spans()?;
        self.consequences()?;
        self.lists()?;
        self.hard_cap()?;
        self.types()?;
        self.words()
    }

    fn refuse(&self, key: impl Into<String>, found: &dyn fmt::Display, accepted: &str) -> Checked {
        Err(ProfileError::Value {
            origin: self.origin.to_owned(),
            key: key.into(),
            found: found.to_string(),
            accepted: accepted.to_owned(),
        })
    }

    fn within(&self, key: &str, found: u32, min: u32, max: u32) -> Checked {
        if (min..=max).contains(&found) { Ok(()) } else { self.refuse(key, &found, &format!("{min} to {max}")) }
    }

    fn word(&self, key: impl Into<String>, found: &str, bytes_max: usize) -> Checked {
        if is_word(found, bytes_max) {
            return Ok(());
        }
        let accepted = format!("1 to {bytes_max} bytes without control characters");
        self.refuse(key, &format_args!("{found:?}"), &accepted)
    }

    fn identity(&self) -> Checked {
        let Profile { name, pid, emergency_exempt, .. } = self.profile;
        self.word("name", name, WORD_BYTES_MAX)?;
        let pid_ok = (1..=64).contains(&pid.len())
            && pid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !pid_ok {
            return self.refuse("pid", &format_args!("{pid:?}"), "1 to 64 letters, digits, '.', '_' or '-'");
        }
        if !emergency_exempt {
            return self.refuse("emergency_exempt", &"false", "true (emergency calls are never refused)");
        }
        Ok(())
    }

    fn spans(&self) -> Checked {
        let profile = self.profile;
        self.within("eval.hours", profile.eval.hours, 1, HOURS_MAX)?;
        if let DeregisteredEvaluation::Fixed(hours) = profile.dereg.eval {
            self.within("dereg.eval.fixed", hours, 1, HOURS_MAX)?;
        }
        self.within("id.valid_days", profile.id.valid_days, 1, DAYS_MAX)?;
        let valid = profile.id.valid_days;
        if !(1..valid).contains(&profile.id.renew_after_days) {
            let accepted = format!("1 to {}, less than id.valid_days", valid.saturating_sub(1));
            return self.refuse("id.renew_after_days", &profile.id.renew_after_days, &accepted);
        }
        self.within("auth_expiry.days", profile.auth_expiry.days, 2, DAYS_MAX)?;
        let expiry = profile.auth_expiry.days;
        if !(1..expiry).contains(&profile.auth.renew_days) {
            let accepted = format!("1 to {}, less than auth_expiry.days", expiry.saturating_sub(1));
            return self.refuse("auth.renew_days", &profile.auth.renew_days, &accepted);
        }
        let retry = &profile.retry;
        for (key, found) in [
            ("retry.registration_s", retry.registration_s),
            ("retry.auth_s", retry.auth_s),
            ("retry.auth_then_s", retry.auth_then_s),
            ("retry.auth_expired_s", retry.auth_expired_s),
        ] {
            self.within(key, found, 1, RETRY_S_MAX)?;
        }
        self.within("retry.auth_until_s", retry.auth_until_s, 0, RETRY_S_MAX)?;
        self.within("report.interval_hours", profile.report.interval_hours, 1, 8_784)?;
        self.within("token.default_days", profile.token.default_days, 1, 365)?;
        self.within("revoke_grace_hours", profile.revoke_grace_hours, 0, HOURS_MAX)
    }

    fn consequences(&self) -> Checked {
        let ooc = self.profile.ooc;
        for (key, Consequence { effect, overage_hours, then }) in
            [("auth_expired", self.profile.auth_expired), ("ooc", ooc.consequence())]
        {
            match (overage_hours, then) {
                (None, None) => {}
                (Some(hours), Some(_)) => {
                    self.within(&format!("{key}.overage_hours"), hours, 1, HOURS_MAX)?;
                    if effect != Effect::AllowNotify {
                        let accepted = "\"allow_notify\", because nothing is refused during overage";
                        return self.refuse(format!("{key}.effect"), &"another effect with overage_hours", accepted);
                    }
                }
                (Some(_), None) => {
                    let accepted = "the effect that follows the overage, such as \"config_freeze\"";
                    return self.refuse(format!("{key}.then"), &"nothing, with overage_hours", accepted);
                }
                (None, Some(_)) => {
                    let accepted = "hours, because `then` follows an overage";
                    return self.refuse(format!("{key}.overage_hours"), &"nothing, with then", accepted);
                }
            }
        }
        if !ooc.tolerance_min.is_multiple_of(15) || ooc.tolerance_min > 43_200 {
            let accepted = "0 (none), or a multiple of 15, at most 43200: use is sampled every 15 minutes";
            return self.refuse("ooc.tolerance_min", &ooc.tolerance_min, accepted);
        }
        let warn_ok =
            if ooc.tolerance_min == 0 { ooc.warn_min == 0 } else { (1..ooc.tolerance_min).contains(&ooc.warn_min) };
        if !warn_ok {
            return self.refuse(
                "ooc.warn_min",
                &ooc.warn_min,
                "1 or more and less than ooc.tolerance_min; 0 where that is 0",
            );
        }
        Ok(())
    }

    fn lists(&self) -> Checked {
        let profile = self.profile;
        if profile.eval.ticks_in.is_empty() {
            return self.refuse("eval.ticks_in", &"an empty list", "at least one state");
        }
        if profile.transport.allowed.is_empty() {
            return self.refuse("transport.allowed", &"an empty list", "at least one way");
        }
        if profile.reservation.offered && profile.reservation.kinds.is_empty() {
            return self.refuse("reservation.kinds", &"an empty list, with offered = true", "\"plr\", \"slr\" or both");
        }
        Ok(())
    }

    fn hard_cap(&self) -> Checked {
        let cap = &self.profile.hard_cap;
        for (key, found) in
            [("limit", cap.limit), ("limit_with_webrtc", cap.limit_with_webrtc), ("webrtc_limit", cap.webrtc_limit)]
        {
            if found == 0 {
                return self.refuse(format!("hard_cap.{key}"), &found, "1 or more");
            }
        }
        cap.entitlement_tag.as_deref().map_or(Ok(()), |tag| self.tag("hard_cap.entitlement_tag", tag))
    }

    fn tag(&self, key: &str, tag: &str) -> Checked {
        if (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.chars().all(is_tag_char) {
            return Ok(());
        }
        self.refuse(key, &format_args!("{tag:?}"), "1 to 128 letters, digits, '.', '-', '_' or ':'")
    }

    fn types(&self) -> Checked {
        let types = &self.profile.types;
        if types.is_empty() || types.len() > TYPES_MAX {
            let found = format!("{} types", types.len());
            return self.refuse("type", &found, &format!("1 to {TYPES_MAX} types"));
        }
        for (place, licensed) in types.iter().enumerate() {
            self.licensed_type(place, licensed, types.get(..place).unwrap_or_default())?;
        }
        Ok(())
    }

    fn licensed_type(&self, place: usize, licensed: &LicensedType, before: &[LicensedType]) -> Checked {
        let key = |field: &str| format!("type[{place}].{field}");
        let LicensedType {
            name,
            description,
            tag,
            unit,
            counts,
            reported: _,
            by_use: _,
            per_license,
            step,
            tier,
            default_for,
        } = licensed;
        self.word(key("name"), name, TYPE_NAME_BYTES_MAX)?;
        if before.iter().any(|other| other.name == *name) {
            return self.refuse(key("name"), &format_args!("{name:?} twice"), "each name once");
        }
        if !description.is_empty() {
            self.word(key("description"), description, 256)?;
        }
        if let Some(tag) = tag {
            self.tag(&key("tag"), tag)?;
            if before.iter().any(|other| other.tag.as_ref() == Some(tag)) {
                return self.refuse(key("tag"), &format_args!("{tag:?} twice"), "each tag once");
            }
        }
        if *per_license == 0 {
            return self.refuse(key("per_license"), per_license, "1 or more");
        }
        if *step == 0 || !step.is_multiple_of(*per_license) {
            return self.refuse(key("step"), step, "a multiple of per_license");
        }
        let by_configuration = *counts != types::CountSource::Admission;
        if by_configuration != (*unit == TypeUnit::Capacity) {
            let accepted =
                "\"active_ports\", \"advanced_ports\" or \"systems\" with unit = \"capacity\", else \"admission\"";
            return self.refuse(key("counts"), &"a source that does not fit the unit", accepted);
        }
        if *unit != TypeUnit::Sessions && (tier.is_some() || !default_for.is_empty()) {
            return self.refuse(
                key("unit"),
                &"another unit with tier or default_for",
                "\"sessions\": both are for them only",
            );
        }
        if *unit == TypeUnit::CallsPerSecond && before.iter().any(|other| other.unit == TypeUnit::CallsPerSecond) {
            return self.refuse(key("unit"), &"calls_per_second twice", "one type that counts calls per second");
        }
        if let Some(tier) = tier
            && before.iter().any(|other| other.tier.as_ref() == Some(tier))
        {
            let found = format!("rank {} of {:?} twice", tier.rank, tier.family);
            return self.refuse(key("tier.rank"), &found, "each rank of a family once");
        }
        for kind in default_for {
            if before.iter().any(|other| other.default_for.contains(kind)) {
                return self.refuse(
                    key("default_for"),
                    &format_args!("{kind:?} twice"),
                    "one default type for each kind",
                );
            }
        }
        Ok(())
    }

    fn words(&self) -> Checked {
        let words = &self.profile.words;
        for (state, of) in words.states() {
            self.word(format!("words.{state}.client"), &of.client, WORD_BYTES_MAX)?;
            self.word(format!("words.{state}.licensing"), &of.licensing, WORD_BYTES_MAX)?;
        }
        for (name, word) in words.license.all() {
            self.word(format!("words.license.{name}"), word, WORD_BYTES_MAX)?;
        }
        for (name, word) in words.qualifiers.all() {
            self.word(format!("words.qualifiers.{name}"), word, WORD_BYTES_MAX)?;
        }
        for label in words.labels.values() {
            self.word("words.labels", label, WORD_BYTES_MAX)?;
        }
        Ok(())
    }
}
