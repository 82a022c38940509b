//! The key that marks the evaluation account as this machine's.
//!
//! It protects against one thing: an account copied from another machine, or changed by hand, to gain evaluation time.
//! It is derived from an identity that anyone on the host can read, and the derivation is public; so it does *not*
//! protect against somebody with root on the host and this source code. Nobody who can delete every copy needs to forge
//! one. An account of another identity still counts for the time it names as used. The account holds no secret.

use std::fmt;
use std::path::Path;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Where a stable identity of the machine is looked for, in this order.
const IDENTITY_FILES: [&str; 3] = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/class/dmi/id/product_uuid"];

const LABEL: &[u8] = b"callgate evaluation account, version 1";

/// A key derived from the machine's identity.
#[derive(Clone)]
pub struct MachineKey([u8; 32]);

impl MachineKey {
    /// The key of this machine: from `stable_id` if the operator gave one (in containers, whose machine-id changes), else
    /// from the machine-id, else from the DMI uuid. The second value says which; `None` if there was none of these, and
    /// the account can be moved freely.
    #[must_use]
    pub fn of_host(stable_id: Option<&str>) -> (Self, Option<String>) {
        if let Some(stable_id) = stable_id {
            return (Self::derive(stable_id.as_bytes()), Some("the configured identity".to_owned()));
        }
        for file in IDENTITY_FILES {
            if let Ok(Some(bytes)) = super::read_bounded(Path::new(file), 256) {
                let identity = bytes.trim_ascii();
                if !identity.is_empty() {
                    return (Self::derive(identity), Some(file.to_owned()));
                }
            }
        }
        (Self::derive(b""), None)
    }

    /// The key of this identity.
    #[must_use]
    pub fn derive(identity: &[u8]) -> Self {
        Self(mac_with(LABEL, identity))
    }

    /// The authentication code of `message` (HMAC-SHA256, RFC 2104).
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        mac_with(&self.0, message)
    }
}

fn mac_with(key: &[u8], message: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes keys of any length; this arm exists because the trait is wider than that.
        Err(_) => [0; 32],
    }
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_sha256_gives_the_published_answer() {
        // RFC 4231, test case 2.
        let mac = mac_with(b"Jefe", b"what do ya want for nothing?");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn two_machines_have_two_keys_and_neither_is_shown() {
        let (one, two) = (MachineKey::derive(b"one"), MachineKey::derive(b"two"));
        assert_ne!(one.mac(b"x"), two.mac(b"x"));
        assert_eq!(format!("{one:?}"), "MachineKey(redacted)");
        assert_eq!(MachineKey::of_host(Some("one")).0.mac(b"x"), one.mac(b"x"));
    }
}
