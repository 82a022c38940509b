//! Values as the configuration writes them: spans of time, sizes, addresses. Each reads what a person writes and shows it
//! in one canonical form, which reads back to the same value.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of whole seconds, written `300`, `"300s"` or `"12h 1m"`.
///
/// ```
/// use callgate::shell::config::Seconds;
/// assert_eq!("12h1m".parse::<Seconds>().unwrap(), Seconds(43_260));
/// assert_eq!(Seconds(43_260).to_string(), "12h 1m");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(pub u32);

impl Seconds {
    /// How many.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The same, for timers.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

const SPAN_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::from(self.0);
        let mut first = true;
        for (unit, size) in SPAN_UNITS {
            let count = rest / size;
            rest %= size;
            if count > 0 {
                write!(f, "{}{count}{unit}", if first { "" } else { " " })?;
                first = false;
            }
        }
        if first { f.write_str("0s") } else { Ok(()) }
    }
}

/// A text that is not what the key takes. The message around it says what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("accepted: {0}")]
pub struct NotAccepted(pub &'static str);

pub(super) const SPAN_ACCEPTED: &str = "whole seconds, or a span such as \"300s\", \"5m\" or \"12h 1m\"";
pub(super) const SIZE_ACCEPTED: &str = "bytes, or a size such as \"512KiB\" or \"64MiB\"";
pub(super) const ADDRESS_ACCEPTED: &str =
    "an IP address with a port (\"127.0.0.1:7500\", \"[::1]:7500\") or a Unix socket (\"unix:/path\")";

/// Splits `12h1m` into its numbers and units and sums them by `size_of`.
fn sum_of_units(text: &str, size_of: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum: Option<u64> = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let part = number.parse::<u64>().ok()?.checked_mul(size_of(unit)?)?;
        sum = Some(sum.unwrap_or(0).checked_add(part)?);
        rest = after.trim_start();
    }
    sum
}

impl FromStr for Seconds {
    type Err = NotAccepted;

    fn from_str(text: &str) -> Result<Self, NotAccepted> {
        if let Ok(plain) = text.trim().parse::<u32>() {
            return Ok(Self(plain));
        }
        sum_of_units(text, |unit| SPAN_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size))
            .and_then(|sum| u32::try_from(sum).ok())
            .map(Self)
            .ok_or(NotAccepted(SPAN_ACCEPTED))
    }
}

/// A size in bytes, written `65536` or `"64KiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// How many.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in SIZE_UNITS {
            if self.0 > 0 && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Bytes {
    type Err = NotAccepted;

    fn from_str(text: &str) -> Result<Self, NotAccepted> {
        if let Ok(plain) = text.trim().parse::<u64>() {
            return Ok(Self(plain));
        }
        sum_of_units(text, |unit| {
            SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, size)| *size)
        })
        .map(Self)
        .ok_or(NotAccepted(SIZE_ACCEPTED))
    }
}

/// Where a front end listens: an IP address and port, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// IP; port 0 lets the system choose (tests).
    Ip(SocketAddr),
    /// A Unix socket. In a loaded configuration the path is absolute: a relative one lies in `node.data_dir`.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this host can reach it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The same, with a relative socket path taken to lie in `directory`.
    #[must_use]
    pub fn within(self, directory: &Path) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(address),
            Self::Unix(path) => Self::Unix(directory.join(path)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = NotAccepted;

    fn from_str(text: &str) -> Result<Self, NotAccepted> {
        match text.strip_prefix("unix:") {
            Some("") => Err(NotAccepted(ADDRESS_ACCEPTED)),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Ip).map_err(|_| NotAccepted(ADDRESS_ACCEPTED)),
        }
    }
}

/// A Unix file mode, written in octal: `"0660"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(pub u32);

pub(super) const MODE_ACCEPTED: &str = "an octal file mode from \"0600\" to \"0777\"";

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = NotAccepted;

    fn from_str(text: &str) -> Result<Self, NotAccepted> {
        match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
            Ok(mode @ 0o600..=0o777) => Ok(Self(mode)),
            Ok(_) | Err(_) => Err(NotAccepted(MODE_ACCEPTED)),
        }
    }
}

/// A TCP address, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched(pub Option<SocketAddr>);

pub(super) const SWITCHED_ACCEPTED: &str = "an IP address with a port (\"127.0.0.1:7501\", \"[::1]:7501\"), or \"off\"";

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl FromStr for Switched {
    type Err = NotAccepted;

    fn from_str(text: &str) -> Result<Self, NotAccepted> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| NotAccepted(SWITCHED_ACCEPTED))
    }
}

/// Reads and writes a type as its text; numbers are read as their text too.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FromText;
                impl de::Visitor<'_> for FromText {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($name))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(FromText)
            }
        }
    )*};
}

as_text!(Seconds, Bytes, Address, FileMode, Switched);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_what_it_shows() {
        for seconds in [0, 1, 59, 60, 61, 3_600, 43_260, 86_400, 90_061, u32::MAX] {
            let span = Seconds(seconds);
            assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        }
    }

    #[test]
    fn spans_that_are_not_whole_seconds_are_refused() {
        for text in ["", "s", "5", "1.5s", "5x", "-5s", "5s x", "99999999999s", "5m5", "500ms", " "] {
            let read = text.parse::<Seconds>();
            assert_eq!(read.is_ok(), text == "5", "{text:?} gave {read:?}");
        }
    }

    #[test]
    fn a_size_reads_what_it_shows() {
        for bytes in [0, 1, 1_000, 1_024, 65_536, 64 << 20, 3_000_000, 1 << 30, 12_345] {
            let size = Bytes(bytes);
            assert_eq!(size.to_string().parse(), Ok(size), "{size}");
        }
        assert_eq!("64 mib".parse(), Ok(Bytes(64 << 20)));
    }

    #[test]
    fn an_address_reads_what_it_shows_and_knows_whether_it_is_local() {
        for (text, local) in [
            ("127.0.0.1:7500", true),
            ("127.9.9.9:1", true),
            ("[::1]:7500", true),
            ("0.0.0.0:7500", false),
            ("[::]:7500", false),
            ("10.1.2.3:7500", false),
            ("unix:/run/callgate.sock", true),
            ("unix:callgate.sock", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_local()), (text, local));
        }
        for text in ["", "unix:", "localhost:7500", "127.0.0.1", "127.0.0.1:70000", ":7500", "tcp:127.0.0.1:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!("0660".parse(), Ok(FileMode(0o660)));
        assert_eq!(FileMode(0o660).to_string(), "0660");
        for text in ["0999", "0", "0400", "1777", "rw"] {
            assert!(text.parse::<FileMode>().is_err(), "{text}");
        }
    }
}
