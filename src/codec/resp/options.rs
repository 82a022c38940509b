//! The options of ADMIT, CONFIRM and RELEASE.

use super::super::excerpt::Excerpt;
use super::command_error::CommandError;
use crate::admission::{Admit, CallId, Kind, Name, UNITS_MAX};
use crate::units::UnixMillis;

const U32: &str = "a whole number from 0 to 4294967295";
const UNITS: &str = "a whole number from 1 to 1000";
const DEADLINE: &str = "a whole number of milliseconds since the Unix epoch";
const KINDS: &str = "call or registration";
const NAME: &str = "a name of 1 to 128 bytes";
const REASON: &str = "any text";
const ADMIT_OPTIONS: &str =
    "TRUNK, TENANT, KIND, WEBRTC, TYPE, UNITS, SEQ, EMERGENCY, PRIORITY, TTL, ENCRYPTED, PROXY, DEADLINE";

/// The value behind an option.
fn value<'a>(
    words: &mut impl Iterator<Item = &'a [u8]>,
    option: &'static str,
    accepted: &'static str,
) -> Result<&'a [u8], CommandError> {
    words.next().ok_or(CommandError::MissingValue { option, accepted })
}

/// Puts an option's value into its place, unless there is one already.
fn once<T>(place: &mut Option<T>, option: &'static str, value: T) -> Result<(), CommandError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(CommandError::Twice { option }),
    }
}

fn flag(place: &mut bool, option: &'static str) -> Result<(), CommandError> {
    if std::mem::replace(place, true) { Err(CommandError::Twice { option }) } else { Ok(()) }
}

/// A decimal number without sign, blanks or leading plus.
pub(super) fn number(what: &'static str, text: &[u8], accepted: &'static str) -> Result<u64, CommandError> {
    let bad = || CommandError::BadValue { what, found: Excerpt::of(text), accepted };
    if text.is_empty() {
        return Err(bad());
    }
    let mut value = 0_u64;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Err(bad());
        }
        value = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(byte - b'0'))).ok_or_else(bad)?;
    }
    Ok(value)
}

fn number_u32(what: &'static str, text: &[u8]) -> Result<u32, CommandError> {
    let value = number(what, text, U32)?;
    u32::try_from(value).map_err(|_| CommandError::BadValue { what, found: Excerpt::of(text), accepted: U32 })
}

fn units(text: &[u8]) -> Result<u16, CommandError> {
    let value = number("UNITS", text, UNITS)?;
    match u16::try_from(value) {
        Ok(units) if (1..=UNITS_MAX).contains(&units) => Ok(units),
        _ => Err(CommandError::BadValue { what: "UNITS", found: Excerpt::of(text), accepted: UNITS }),
    }
}

pub(super) fn id(bytes: &[u8]) -> Result<CallId<'_>, CommandError> {
    CallId::new(bytes).map_err(|bad| CommandError::BadId { found: bad.found })
}

pub(super) fn name<'a>(what: &'static str, bytes: &'a [u8]) -> Result<Name<'a>, CommandError> {
    Name::new(bytes).map_err(|bad| CommandError::BadName { what, found: bad.found })
}

fn kind(text: &[u8]) -> Result<Kind, CommandError> {
    if text.eq_ignore_ascii_case(b"call") {
        Ok(Kind::Call)
    } else if text.eq_ignore_ascii_case(b"registration") {
        Ok(Kind::Registration)
    } else {
        Err(CommandError::BadValue { what: "KIND", found: Excerpt::of(text), accepted: KINDS })
    }
}

/// `ADMIT id [option ...]`.
pub(super) fn admit<'a>(id: CallId<'a>, mut words: impl Iterator<Item = &'a [u8]>) -> Result<Admit<'a>, CommandError> {
    let mut admit = Admit::call(id);
    let (mut kind_given, mut units_given) = (None, None);
    let words = &mut words;
    while let Some(option) = words.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("TRUNK") {
            once(&mut admit.trunk, "TRUNK", name("TRUNK", value(words, "TRUNK", NAME)?)?)?;
        } else if is("TENANT") {
            once(&mut admit.tenant, "TENANT", name("TENANT", value(words, "TENANT", NAME)?)?)?;
        } else if is("SEQ") {
            once(&mut admit.seq, "SEQ", number_u32("SEQ", value(words, "SEQ", U32)?)?)?;
        } else if is("PROXY") {
            once(&mut admit.proxy, "PROXY", name("PROXY", value(words, "PROXY", NAME)?)?)?;
        } else if is("KIND") {
            once(&mut kind_given, "KIND", kind(value(words, "KIND", KINDS)?)?)?;
        } else if is("WEBRTC") {
            flag(&mut admit.webrtc, "WEBRTC")?;
        } else if is("TYPE") {
            once(&mut admit.license_type, "TYPE", name("TYPE", value(words, "TYPE", NAME)?)?)?;
        } else if is("UNITS") {
            once(&mut units_given, "UNITS", units(value(words, "UNITS", UNITS)?)?)?;
        } else if is("EMERGENCY") {
            flag(&mut admit.emergency, "EMERGENCY")?;
        } else if is("PRIORITY") {
            flag(&mut admit.priority, "PRIORITY")?;
        } else if is("TTL") {
            once(&mut admit.ttl_s, "TTL", number_u32("TTL", value(words, "TTL", U32)?)?)?;
        } else if is("ENCRYPTED") {
            flag(&mut admit.encrypted, "ENCRYPTED")?;
        } else if is("DEADLINE") {
            let millis = number("DEADLINE", value(words, "DEADLINE", DEADLINE)?, DEADLINE)?;
            once(&mut admit.deadline, "DEADLINE", UnixMillis(millis))?;
        } else {
            return Err(CommandError::UnknownOption {
                command: "ADMIT",
                found: Excerpt::of(option),
                accepted: ADMIT_OPTIONS,
            });
        }
    }
    admit.kind = kind_given.unwrap_or_default();
    admit.units = units_given.unwrap_or(1);
    Ok(admit)
}

/// `CONFIRM id [SEQ n] [TTL s]`: the options.
pub(super) fn confirm<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Result<(Option<u32>, Option<u32>), CommandError> {
    let (mut seq, mut ttl_s) = (None, None);
    let words = &mut words;
    while let Some(option) = words.next() {
        if option.eq_ignore_ascii_case(b"SEQ") {
            once(&mut seq, "SEQ", number_u32("SEQ", value(words, "SEQ", U32)?)?)?;
        } else if option.eq_ignore_ascii_case(b"TTL") {
            once(&mut ttl_s, "TTL", number_u32("TTL", value(words, "TTL", U32)?)?)?;
        } else {
            let found = Excerpt::of(option);
            return Err(CommandError::UnknownOption { command: "CONFIRM", found, accepted: "SEQ, TTL" });
        }
    }
    Ok((seq, ttl_s))
}

/// `RELEASE id [SEQ n] [REASON text]`: the options. The reason is for people who read the wire; it changes nothing.
pub(super) fn release<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<Option<u32>, CommandError> {
    let (mut seq, mut reason) = (None, None);
    let words = &mut words;
    while let Some(option) = words.next() {
        if option.eq_ignore_ascii_case(b"SEQ") {
            once(&mut seq, "SEQ", number_u32("SEQ", value(words, "SEQ", U32)?)?)?;
        } else if option.eq_ignore_ascii_case(b"REASON") {
            once(&mut reason, "REASON", value(words, "REASON", REASON)?)?;
        } else {
            let found = Excerpt::of(option);
            return Err(CommandError::UnknownOption { command: "RELEASE", found, accepted: "SEQ, REASON" });
        }
    }
    Ok(seq)
}
