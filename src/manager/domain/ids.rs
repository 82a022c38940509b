//! Names of the manager's objects: random, so that none is ever used again for something else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::Entropy;

/// A text that is no id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no {what}; accepted: {prefix}- and 16 hexadecimal digits")]
pub struct IdError {
    /// The text, cut at 64 characters.
    pub found: String,
    /// What was expected.
    pub what: &'static str,
    /// What such an id begins with.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// A new one.
            #[must_use]
            pub fn generate(entropy: &mut Entropy) -> Self {
                Self(entropy.number())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "-{:016x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|digits| digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .map(Self)
                    .ok_or_else(|| IdError { found: text.chars().take(64).collect(), what: $what, prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A virtual account's id, `va-…`.
    VirtualAccountId, "va", "virtual account"
);
id!(
    /// A registration token's id, `tk-…`; not the token.
    TokenId, "tk", "token"
);
id!(
    /// A purchase's id, `lot-…`.
    LotId, "lot", "lot of licenses"
);
id!(
    /// A product instance's id, `pi-…`; kept when the same UDI registers again.
    InstanceId, "pi", "product instance"
);
id!(
    /// A user's id, `us-…`.
    UserId, "us", "user"
);
id!(
    /// An API key's id, `ak-…`; not the key.
    ApiKeyId, "ak", "API key"
);
id!(
    /// An archived report's id, `rp-…`.
    ReportId, "rp", "report"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written_and_no_other_kind_passes_for_it() {
        let id = InstanceId::generate(&mut Entropy::from_seed([1; 32]));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<LotId>().is_err());
        for wrong in ["pi-", "pi-0123", "pi-0123456789ABCDEF", "pi-+123456789abcdef", "0123456789abcdef"] {
            assert_eq!(wrong.parse::<InstanceId>().unwrap_err().what, "product instance", "{wrong}");
        }
    }
}
