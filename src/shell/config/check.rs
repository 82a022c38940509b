//! One value against what its key takes.

use std::path::Path;
use std::str::FromStr;

use toml::Value;

use super::destination::RECIPIENTS_MAX;
use super::keys::ADDRESSES_MAX;
use super::schema::Kind;
use super::targets::{HostPort, SyslogAddress, WebhookUrl};
use super::values::{
    ADDRESS_ACCEPTED, Address, Bytes, FileMode, MODE_ACCEPTED, SIZE_ACCEPTED, SPAN_ACCEPTED, SWITCHED_ACCEPTED,
    Seconds, Switched,
};
use crate::license::BuiltinProfile;
use crate::protocol::PublicKey;
use crate::shell::license::transport::{AddressError, ManagerUrl, ProxyAddress, parse_pin};
use crate::units::{CALLS_PER_SECOND_PER_LICENSE, LicensedRate};

/// The longest path, in bytes: what Linux takes.
const PATH_BYTES_MAX: usize = 4_096;

/// The most pinned keys: the one in use, the next, and some to spare.
const PINS_MAX: usize = 8;

/// What is accepted in place of a value that isn't.
pub(super) type Accepted = String;

/// The value, in the key's canonical form. A relative path lies in `directory`.
pub(super) fn check(kind: Kind, value: &Value, directory: &Path) -> Result<Value, Accepted> {
    match kind {
        Kind::Text { bytes_max } => text(value, bytes_max),
        Kind::HostName => host_name(value),
        Kind::Bool => value.as_bool().map(Value::Boolean).ok_or_else(|| "true or false".to_owned()),
        Kind::Integer { min, max, of } => integer(value, min, max, of),
        Kind::LicensedRate => licensed_rate(value),
        Kind::Span { min_s, max_s } => span(value, min_s, max_s),
        Kind::Size { min, max } => size(value, min, max),
        Kind::Choice(choices) => choice(value, choices),
        Kind::Path => path(value, directory).ok_or_else(|| "a path in quotes".to_owned()),
        Kind::Profile => profile(value, directory),
        Kind::FileMode => parsed::<FileMode>(value, MODE_ACCEPTED),
        Kind::Switched => parsed::<Switched>(value, SWITCHED_ACCEPTED),
        Kind::Addresses => addresses(value),
        Kind::ManagerUrl => address::<ManagerUrl>(value),
        Kind::Proxy => address::<ProxyAddress>(value),
        Kind::Pins => pins(value),
        Kind::RootKey => parsed_text(value, |text| serde_json::from_value::<PublicKey>(text.into()).is_ok())
            .ok_or_else(|| {
                "a license manager's root key: 32 bytes in base64url, as `callgate manager` shows it".to_owned()
            }),
        Kind::Choices(choices) => several(value, |entry| choice(entry, choices), choices.len()),
        Kind::WebhookUrl => parsed::<WebhookUrl>(value, WebhookUrl::ACCEPTED),
        Kind::SyslogAddress => parsed::<SyslogAddress>(value, SyslogAddress::ACCEPTED),
        Kind::HostPort => parsed::<HostPort>(value, HostPort::ACCEPTED),
        Kind::Mailbox => mailbox(value),
        Kind::Mailboxes => several(value, mailbox, RECIPIENTS_MAX),
    }
}

/// A text from the environment or a flag, as the value that the key would take from a file.
pub(super) fn from_text(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Bool => text.parse().map_or_else(|_| Value::from(text), Value::Boolean),
        Kind::Integer { .. } | Kind::LicensedRate | Kind::Span { .. } | Kind::Size { .. } => {
            text.trim().parse().map_or_else(|_| Value::from(text), Value::Integer)
        }
        Kind::Addresses | Kind::Choices(_) | Kind::Mailboxes => {
            Value::Array(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect())
        }
        Kind::Text { .. }
        | Kind::HostName
        | Kind::Choice(_)
        | Kind::Path
        | Kind::Profile
        | Kind::FileMode
        | Kind::Switched
        | Kind::ManagerUrl
        | Kind::Proxy
        | Kind::Pins
        | Kind::RootKey
        | Kind::WebhookUrl
        | Kind::SyslogAddress
        | Kind::HostPort
        | Kind::Mailbox => Value::from(text),
    }
}

fn text(value: &Value, bytes_max: usize) -> Result<Value, Accepted> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= bytes_max => Ok(value.clone()),
        _ => Err(format!("a text of 1 to {bytes_max} bytes in quotes")),
    }
}

fn host_name(value: &Value) -> Result<Value, Accepted> {
    match value.as_str() {
        Some(name)
            if (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) =>
        {
            Ok(value.clone())
        }
        _ => Err("1 to 64 letters, digits, '.', '-' or '_', in quotes".to_owned()),
    }
}

fn integer(value: &Value, min: u32, max: u32, of: &str) -> Result<Value, Accepted> {
    match value.as_integer() {
        Some(number) if (i64::from(min)..=i64::from(max)).contains(&number) => Ok(value.clone()),
        _ => Err(format!("a whole number from {min} to {max} ({of})")),
    }
}

fn licensed_rate(value: &Value) -> Result<Value, Accepted> {
    let accepted = format!("a multiple of {CALLS_PER_SECOND_PER_LICENSE}, because that is what one license covers");
    let Some(number) = value.as_integer().and_then(|number| u32::try_from(number).ok()) else {
        return Err(format!("{accepted} (a whole number without quotes, 0 or more)"));
    };
    match LicensedRate::new(number) {
        Ok(_) => Ok(value.clone()),
        Err(refused) => {
            Err(format!("{accepted}; the nearest accepted values are {} and {}", refused.below, refused.above))
        }
    }
}

fn span(value: &Value, min_s: u32, max_s: u32) -> Result<Value, Accepted> {
    match scalar(value).and_then(|text| Seconds::from_str(&text).ok()) {
        Some(span) if (min_s..=max_s).contains(&span.0) => Ok(Value::String(span.to_string())),
        _ => Err(format!("{SPAN_ACCEPTED}, from {} to {}", Seconds(min_s), Seconds(max_s))),
    }
}

fn size(value: &Value, min: u64, max: u64) -> Result<Value, Accepted> {
    match scalar(value).and_then(|text| Bytes::from_str(&text).ok()) {
        Some(size) if (min..=max).contains(&size.0) => Ok(Value::String(size.to_string())),
        _ => Err(format!("{SIZE_ACCEPTED}, from {} to {}", Bytes(min), Bytes(max))),
    }
}

fn scalar(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_integer().map(|number| number.to_string()))
}

fn choice(value: &Value, choices: &[&str]) -> Result<Value, Accepted> {
    match value.as_str() {
        Some(text) if choices.contains(&text) => Ok(value.clone()),
        _ => Err(one_of(choices.iter().copied())),
    }
}

/// A list without repetition, each entry of which is accepted.
fn several(value: &Value, one: impl Fn(&Value) -> Result<Value, Accepted>, max: usize) -> Result<Value, Accepted> {
    let refused = |accepted: &str| format!("a list of 1 to {max}, each once, of {accepted}");
    let accepted = one(&Value::Boolean(false)).err().unwrap_or_default();
    let list = value.as_array().filter(|list| (1..=max).contains(&list.len())).ok_or_else(|| refused(&accepted))?;
    let mut checked: Vec<Value> = Vec::with_capacity(list.len());
    for entry in list {
        let entry = one(entry).map_err(|accepted| refused(&accepted))?;
        if checked.contains(&entry) {
            return Err(refused(&accepted));
        }
        checked.push(entry);
    }
    Ok(Value::Array(checked))
}

fn mailbox(value: &Value) -> Result<Value, Accepted> {
    parsed::<lettre::Address>(value, "a mail address without a name, such as \"ops@example.com\"")
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn path(value: &Value, directory: &Path) -> Option<Value> {
    let path = value.as_str().filter(|path| !path.is_empty() && path.len() <= PATH_BYTES_MAX)?;
    let path = directory.join(path);
    let absolute = std::path::absolute(&path).unwrap_or(path);
    Some(Value::from(absolute.to_str()?))
}

/// A name is a shipped profile's; what has a slash, or ends in `.toml`, is a path.
fn profile(value: &Value, directory: &Path) -> Result<Value, Accepted> {
    let name = value.as_str().unwrap_or_default();
    if BuiltinProfile::from_name(name).is_some() {
        return Ok(value.clone());
    }
    let named = (name.contains('/') || name.ends_with(".toml")).then(|| path(value, directory)).flatten();
    named.ok_or_else(|| {
        format!("{}, or the path of a profile file", one_of(BuiltinProfile::ALL.map(BuiltinProfile::name)))
    })
}

fn parsed<T: FromStr + ToString>(value: &Value, accepted: &str) -> Result<Value, Accepted> {
    match value.as_str().and_then(|text| text.parse::<T>().ok()) {
        Some(parsed) => Ok(Value::String(parsed.to_string())),
        None => Err(accepted.to_owned()),
    }
}

/// An address in its canonical form; what is accepted is the address's own business.
fn address<T: FromStr<Err = AddressError> + ToString>(value: &Value) -> Result<Value, Accepted> {
    match value.as_str().map(str::parse::<T>) {
        Some(Ok(address)) => Ok(Value::String(address.to_string())),
        Some(Err(error)) => Err(error.accepted.to_owned()),
        None => Err("an address in quotes".to_owned()),
    }
}

fn parsed_text(value: &Value, good: impl FnOnce(&str) -> bool) -> Option<Value> {
    value.as_str().filter(|text| good(text)).map(Value::from)
}

fn pins(value: &Value) -> Result<Value, Accepted> {
    let good = |text: &str| {
        let mut pins = text.split(',');
        pins.clone().count() <= PINS_MAX && pins.all(|pin| parse_pin(pin).is_some())
    };
    parsed_text(value, good).ok_or_else(|| {
        format!(
            "1 to {PINS_MAX} SHA-256 hashes of public keys with commas between, each 64 hexadecimal digits or base64"
        )
    })
}

fn addresses(value: &Value) -> Result<Value, Accepted> {
    let accepted = || format!("a list of at most {ADDRESSES_MAX}, each {ADDRESS_ACCEPTED}; [] for none");
    let list = value.as_array().filter(|list| list.len() <= ADDRESSES_MAX).ok_or_else(accepted)?;
    let mut checked: Vec<Value> = Vec::with_capacity(list.len());
    for entry in list {
        let address = parsed::<Address>(entry, "").map_err(|_| accepted())?;
        if checked.contains(&address) && !address.as_str().is_some_and(|text| text.ends_with(":0")) {
            return Err(format!("each address once; {address} stands there twice"));
        }
        checked.push(address);
    }
    Ok(Value::Array(checked))
}
