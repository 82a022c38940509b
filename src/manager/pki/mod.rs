//! Keys and certificates of a manager: what it signs with, what it shows in TLS, whom it lets in.
//!
//! Two trees that have nothing to do with each other:
//!
//! | tree | algorithm | for |
//! |---|---|---|
//! | TLS authority -> server certificate | ECDSA P-256 | browsers and agents that connect; or files of the operator's instead |
//! | signing root -> issuer key -> id certificates | Ed25519 | every message and grant; who an agent is |
//!
//! Files in `data_dir/pki`, all 0600: `tls-ca.{key,pem}`, `tls.{key,pem}`, `root.{key,pem}`, `issuer-<id>.{key,pem}`,
//! `key-set.json`. `root.key` may be taken away once an issuer is there: it is needed for a rotation alone. `data_dir/ca.pem`
//! is the TLS authority's certificate, for `license.ca_file` of agents.
//!
//! What must stay true: a key set's `seq` rises with each change and is on disk before any message is signed by a key of
//! it; an issuer's certificate outlives every id certificate that it signed.

mod files;
mod signing;
mod tls;
mod verifier;
mod x509;

use std::path::PathBuf;

pub use signing::{ISSUER_DAYS, RotateError, Signing, SigningKeys};
pub use tls::{CertificateSource, TlsIdentity};
pub use verifier::{PeerIdentity, any_certificate};
pub use x509::{IdOrder, Validity, positive_serial};

use crate::protocol::Entropy;
use crate::shell::store::StoreError;

/// The directory of keys under `data_dir`.
pub const PKI_DIR: &str = "pki";

/// The exported TLS authority under `data_dir`.
pub const CA_FILE: &str = "ca.pem";

/// Why keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory cannot be read.
    #[error("cannot list {}: {source}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that is there and is not what it should be. Nothing was changed.
    #[error("{} cannot be used: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Files that belong together and don't. Nothing was changed.
    #[error("{} is missing, and {} is there: restore it from a backup; nothing was changed", missing.display(), there.display())]
    Half {
        /// What is missing.
        missing: PathBuf,
        /// What is there.
        there: PathBuf,
    },
    /// A certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    Encode(String),
    /// TLS doesn't take it.
    #[error("TLS does not take {what}: {reason}")]
    Tls {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// A source of unpredictable bytes, seeded by the operating system.
///
/// # Errors
/// If the system gives none.
pub fn os_entropy() -> Result<Entropy, PkiError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| PkiError::Random(error.to_string()))?;
    Ok(Entropy::from_seed(seed))
}
