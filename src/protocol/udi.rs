//! The unique device identifier of a product instance.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::entropy::Entropy;

const SERIAL_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SERIAL_LEN: usize = 11;
const PID_BYTES_MAX: usize = 64;

/// `PID:<product>,SN:<11 characters>,UUID:<version 4>`. Made once per instance, kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Udi {
    pid: String,
    serial: String,
    uuid: String,
}

/// A text that is no UDI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no UDI; accepted: PID:<1 to 64 of A-Z a-z 0-9 . _ ->,SN:<11 of A-Z 2-7>,UUID:<version 4>")]
pub struct UdiError {
    /// The text, cut at 200 bytes.
    pub found: String,
}

impl Udi {
    /// A new one for this product id; characters that an id may not have become `-`.
    #[must_use]
    pub fn generate(pid: &str, entropy: &mut Entropy) -> Self {
        let pid: String = pid.chars().map(|c| if is_pid_char(c) { c } else { '-' }).take(PID_BYTES_MAX).collect();
        let pid = if pid.is_empty() { "callgate".to_owned() } else { pid };
        let serial = entropy
            .bytes::<SERIAL_LEN>()
            .iter()
            .filter_map(|byte| SERIAL_ALPHABET.get(usize::from(byte % 32)).copied().map(char::from))
            .collect();
        let mut uuid = entropy.bytes::<16>();
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36);
        for (place, byte) in uuid.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Self { pid, serial, uuid: text }
    }

    /// The product id.
    #[must_use]
    pub fn pid(&self) -> &str {
        &self.pid
    }

    /// The serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

const fn is_pid_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl fmt::Display for Udi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PID:{},SN:{},UUID:{}", self.pid, self.serial, self.uuid)
    }
}

impl FromStr for Udi {
    type Err = UdiError;

    fn from_str(text: &str) -> Result<Self, UdiError> {
        let parse = || {
            let (pid, rest) = text.strip_prefix("PID:")?.split_once(",SN:")?;
            let (serial, uuid) = rest.split_once(",UUID:")?;
            let pid_ok = !pid.is_empty() && pid.len() <= PID_BYTES_MAX && pid.chars().all(is_pid_char);
            let serial_ok = serial.len() == SERIAL_LEN && serial.bytes().all(|byte| SERIAL_ALPHABET.contains(&byte));
            let uuid_ok = uuid.len() == 36
                && uuid.bytes().enumerate().all(|(place, byte)| match place {
                    8 | 13 | 18 | 23 => byte == b'-',
                    14 => byte == b'4',
                    19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
                    _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                });
            (pid_ok && serial_ok && uuid_ok).then(|| Self {
                pid: pid.to_owned(),
                serial: serial.to_owned(),
                uuid: uuid.to_owned(),
            })
        };
        parse().ok_or_else(|| UdiError { found: text.chars().take(200).collect() })
    }
}

impl Serialize for Udi {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Udi {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
