//! The signing root, issuer keys, and the key set by which the root vouches for them.
//!
//! An issuer key signs messages for [`ISSUER_DAYS`]. Its certificate is valid for twice as long and a month, so that an id
//! certificate that it signed on its last day lives its whole year. A rotation adds a key and keeps the old ones in the set
//! until their time is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::Serialize;

use super::x509::{self, DAY_MS, IdOrder, Validity};
use super::{PkiError, files, os_entropy};
use crate::protocol::{Envelope, EnvelopeError, KeyId, KeySet, KeyUse, PublicKey, SecretKey, SignedKey, Typ};
use crate::shell::store::make_private_dir;
use crate::units::UnixMillis;

/// How long an issuer key signs, in days.
pub const ISSUER_DAYS: u64 = 365;
const ISSUER_CERTIFICATE_DAYS: u64 = 2 * ISSUER_DAYS + 31;
const ROOT_DAYS: u64 = 3653;
/// The part of its life after which an issuer key is replaced, in percent.
const ROTATE_AT_PERCENT: u64 = 80;

/// The most issuer keys that are good at once; agents take sets of up to twice as many.
const KEYS_GOOD_MAX: usize = 16;

const ROOT_KEY: &str = "root.key";
const ROOT_PEM: &str = "root.pem";
const KEY_SET: &str = "key-set.json";
const ISSUER: &str = "issuer-";

/// What signs now. A value of its own: who signs takes it, and a rotation puts another in its place.
#[derive(Debug)]
pub struct Signing {
    root: PublicKey,
    root_der: Vec<u8>,
    issuer: SecretKey,
    issuer_der: Vec<u8>,
    set: KeySet,
    envelope: Envelope,
}

impl Signing {
    /// The root's public key.
    #[must_use]
    pub const fn root(&self) -> PublicKey {
        self.root
    }

    /// The root's certificate: DER in base64.
    #[must_use]
    pub fn root_b64(&self) -> String {
        STANDARD.encode(&self.root_der)
    }

    /// The root's certificate: DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The name of the key that signs.
    #[must_use]
    pub fn issuer_id(&self) -> KeyId {
        self.issuer.public().id()
    }

    /// Which keys are good.
    #[must_use]
    pub const fn key_set(&self) -> &KeySet {
        &self.set
    }

    /// The same, signed by the root.
    #[must_use]
    pub const fn key_set_envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Signs a message.
    ///
    /// # Errors
    /// If it is too large.
    pub fn seal<T: Serialize>(&self, typ: Typ, message: &T) -> Result<Envelope, EnvelopeError> {
        Envelope::seal(typ, message, &self.issuer)
    }

    /// Signs anything, for signatures that are no messages.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.issuer.sign(bytes)
    }

    /// An id certificate and the issuer's above it: DER in base64, ready for a registration's answer.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn issue(&self, order: &IdOrder<'_>) -> Result<Vec<String>, PkiError> {
        let id = x509::id(order, &self.issuer)?;
        Ok(vec![STANDARD.encode(id), STANDARD.encode(&self.issuer_der)])
    }

    /// Where in its life the issuer key is.
    fn issuer_life(&self) -> Option<(UnixMillis, UnixMillis)> {
        self.set.find(&self.issuer_id()).map(|key| (key.not_before, key.not_after))
    }

    /// Until when the issuer key signs.
    #[must_use]
    pub fn issuer_ends(&self) -> Option<UnixMillis> {
        self.issuer_life().map(|(_, until)| until)
    }

    /// Whether the issuer key's time is over: agents refuse what it signs, so it must not sign.
    #[must_use]
    pub fn issuer_ended(&self, now: UnixMillis) -> bool {
        self.issuer_ends().is_none_or(|until| until <= now)
    }

    /// When another issuer key is due.
    #[must_use]
    pub fn rotation_due_at(&self) -> UnixMillis {
        self.issuer_life().map_or(UnixMillis(0), |(from, until)| {
            let life = until.0.saturating_sub(from.0);
            UnixMillis(from.0.saturating_add(life / 100 * ROTATE_AT_PERCENT))
        })
    }

    /// Whether it is time for another issuer key.
    #[must_use]
    pub fn rotation_due(&self, now: UnixMillis) -> bool {
        now >= self.rotation_due_at()
    }
}

/// Why a rotation did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The root's key is kept elsewhere.
    #[error(
        "the root's key is not here, and only the root can vouch for a new issuer key: put {} back (mode 0600), rotate, and \
         take it away again",
        path.display()
    )]
    RootOffline {
        /// Where it is looked for.
        path: PathBuf,
    },
    /// The file that is there is another key.
    #[error("{} is the key {found}; the root here is {expected}", path.display())]
    OtherRoot {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: KeyId,
        /// Whose it should be.
        expected: KeyId,
    },
    /// Too many keys are good already.
    #[error(
        "{KEYS_GOOD_MAX} issuer keys are good already, and agents take no set of many more; the next once the oldest ended"
    )]
    Full,
    /// A key to revoke that is not in the set.
    #[error("the key set holds no key {found}; it holds {held}")]
    NoSuchKey {
        /// What was named.
        found: KeyId,
        /// The keys that are good.
        held: String,
    },
    /// Files.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// The keys in a directory, and what signs now.
#[derive(Debug)]
pub struct SigningKeys {
    dir: PathBuf,
    now: ArcSwap<Signing>,
    /// One rotation at a time.
    rotating: Mutex<()>,
}

impl SigningKeys {
    /// Whether this directory holds keys, whole or in part.
    #[must_use]
    pub fn are_there(dir: &Path) -> bool {
        dir.join(ROOT_PEM).exists() || dir.join(KEY_SET).exists()
    }

    /// Reads the keys of this directory, or makes them at the first start. `true`: they were made.
    ///
    /// # Errors
    /// If they cannot be read, or are only half there; then nothing is changed: new keys would orphan every agent.
    pub fn open(dir: &Path, now: UnixMillis) -> Result<(Self, bool), PkiError> {
        make_private_dir(dir)?;
        let (root_key, root_pem, set) = (dir.join(ROOT_KEY), dir.join(ROOT_PEM), dir.join(KEY_SET));
        let (signing, made) = match files::read_certificates(&root_pem)? {
            Some(certificates) => {
                // The first start may have been cut short behind the root: nothing was signed yet.
                let root_der = certificates.first().map(|der| der.to_vec()).unwrap_or_default();
                let root = certified_key(&root_der, &root_pem)?;
                match files::read(&set)? {
                    Some(bytes) => (read_signing(dir, root, root_der, &bytes)?, false),
                    None => (first_issuer(dir, root_der, root, now)?, true),
                }
            }
            None if set.exists() => return Err(PkiError::Half { missing: root_pem, there: set }),
            None => {
                let mut entropy = os_entropy()?;
                let key = match files::read_signing_key(&root_key)? {
                    Some(key) => key,
                    None => {
                        let key = SecretKey::from_seed(entropy.bytes());
                        files::write_key(&root_key, &key.pkcs8_der())?;
                        key
                    }
                };
                let der = x509::root(&key, entropy.bytes(), Validity::days_from(now, ROOT_DAYS))?;
                files::write_certificates(&root_pem, [der.as_slice()])?;
                (first_issuer(dir, der, key.public(), now)?, true)
            }
        };
        Ok((Self { dir: dir.to_owned(), now: ArcSwap::from_pointee(signing), rotating: Mutex::new(()) }, made))
    }

    /// What signs now.
    #[must_use]
    pub fn current(&self) -> Arc<Signing> {
        self.now.load_full()
    }

    /// Whether the root's key is here.
    #[must_use]
    pub fn root_is_online(&self) -> bool {
        self.dir.join(ROOT_KEY).exists()
    }

    /// Adds an issuer key, which signs from now on; the ones before stay good until their time is over.
    ///
    /// # Errors
    /// If the root's key is not here, or something cannot be written; then the present key goes on.
    pub fn rotate(&self, now: UnixMillis) -> Result<Arc<Signing>, RotateError> {
        let _alone = self.rotating.lock();
        let present = self.current();
        let root = self.root_key(&present)?;
        let keys: Vec<SignedKey> = present.set.keys.iter().filter(|key| key.not_after.0 > now.0).cloned().collect();
        if keys.len() >= KEYS_GOOD_MAX {
            return Err(RotateError::Full);
        }
        let signing = add_issuer(&self.dir, &root, present.root_der.clone(), present.set.seq, keys, now)?;
        Ok(self.put(signing))
    }

    /// Takes an issuer key out of the set at once. If it is the one that signs, another one is made. What it signed is not
    /// taken back by that: agents refuse its further messages, and their id certificates are issued anew as they renew.
    ///
    /// # Errors
    /// If the root's key is not here, the set holds no such key, or something cannot be written.
    pub fn revoke(&self, id: &KeyId, now: UnixMillis) -> Result<Arc<Signing>, RotateError> {
        let _alone = self.rotating.lock();
        let present = self.current();
        if present.set.find(id).is_none() {
            let held: Vec<String> = present.set.keys.iter().map(|key| key.key.id().to_string()).collect();
            return Err(RotateError::NoSuchKey { found: id.clone(), held: held.join(", ") });
        }
        let root = self.root_key(&present)?;
        let keys: Vec<SignedKey> = present.set.keys.iter().filter(|key| key.key.id() != *id).cloned().collect();
        let root_der = present.root_der.clone();
        let signing = if *id == present.issuer_id() {
            add_issuer(&self.dir, &root, root_der, present.set.seq, keys, now)?
        } else {
            let set = KeySet { seq: present.set.seq.saturating_add(1), issued_at: now, keys };
            let envelope = write_set(&self.dir, &root, &set)?;
            let issuer = files::read_signing_key(&issuer_path(&self.dir, &present.issuer_id(), "key"))?;
            let path = issuer_path(&self.dir, &present.issuer_id(), "key");
            let issuer = issuer.ok_or_else(|| PkiError::Half { missing: path, there: self.dir.join(KEY_SET) })?;
            Signing { root: present.root, root_der, issuer, issuer_der: present.issuer_der.clone(), set, envelope }
        };
        Ok(self.put(signing))
    }

    /// The root's key, if it is here and is this root's.
    fn root_key(&self, present: &Signing) -> Result<SecretKey, RotateError> {
        let path = self.dir.join(ROOT_KEY);
        let root = files::read_signing_key(&path)?.ok_or_else(|| RotateError::RootOffline { path: path.clone() })?;
        if root.public() == present.root {
            return Ok(root);
        }
        Err(RotateError::OtherRoot { path, found: root.public().id(), expected: present.root.id() })
    }

    fn put(&self, signing: Signing) -> Arc<Signing> {
        let signing = Arc::new(signing);
        self.now.store(Arc::clone(&signing));
        self.remove_old(&signing);
        signing
    }

    /// Secret keys that are no longer in the set sign nothing more; their certificates stay for those who look.
    fn remove_old(&self, signing: &Signing) {
        for path in files::list(&self.dir, ISSUER, ".key").unwrap_or_default() {
            let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix(ISSUER));
            if named.is_some_and(|id| signing.set.find(&KeyId(id.to_owned())).is_none())
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "an issuer key whose time is over was not removed");
            }
        }
    }
}

fn certified_key(der: &[u8], path: &Path) -> Result<PublicKey, PkiError> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let unreadable = |reason: String| PkiError::Unreadable { path: path.to_owned(), reason };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    PublicKey::from_bytes(&certificate.public_key().subject_public_key.data)
        .ok_or_else(|| unreadable("its key is not Ed25519".to_owned()))
}

fn issuer_path(dir: &Path, id: &KeyId, extension: &str) -> PathBuf {
    dir.join(format!("{ISSUER}{id}.{extension}"))
}

fn first_issuer(dir: &Path, root_der: Vec<u8>, root: PublicKey, now: UnixMillis) -> Result<Signing, PkiError> {
    let path = dir.join(ROOT_KEY);
    let key = files::read_signing_key(&path)?.filter(|key| key.public() == root);
    let key = key.ok_or_else(|| PkiError::Half { missing: path, there: dir.join(ROOT_PEM) })?;
    add_issuer(dir, &key, root_der, 0, Vec::new(), now)
}

/// Makes an issuer key and writes it, its certificate and then the set: a crash between leaves the old set in force.
fn add_issuer(
    dir: &Path,
    root: &SecretKey,
    root_der: Vec<u8>,
    seq: u64,
    mut keys: Vec<SignedKey>,
    now: UnixMillis,
) -> Result<Signing, PkiError> {
    let mut entropy = os_entropy()?;
    let issuer = SecretKey::from_seed(entropy.bytes());
    let public = issuer.public();
    let validity = Validity::days_from(now, ISSUER_CERTIFICATE_DAYS);
    let issuer_der = x509::issuer(&public, root, entropy.bytes(), validity)?;
    files::write_key(&issuer_path(dir, &public.id(), "key"), &issuer.pkcs8_der())?;
    files::write_certificates(&issuer_path(dir, &public.id(), "pem"), [issuer_der.as_slice()])?;
    keys.push(SignedKey {
        key: public,
        key_use: KeyUse::Issuer,
        not_before: validity.not_before,
        not_after: UnixMillis(now.0.saturating_add(ISSUER_DAYS * DAY_MS)),
    });
    let set = KeySet { seq: seq.saturating_add(1), issued_at: now, keys };
    let envelope = write_set(dir, root, &set)?;
    Ok(Signing { root: root.public(), root_der, issuer, issuer_der, set, envelope })
}

fn write_set(dir: &Path, root: &SecretKey, set: &KeySet) -> Result<Envelope, PkiError> {
    let envelope = Envelope::seal(Typ::KeySet, set, root).map_err(|error| PkiError::Encode(error.to_string()))?;
    crate::shell::store::write_atomically(&dir.join(KEY_SET), &envelope.to_bytes())?;
    Ok(envelope)
}

fn read_signing(dir: &Path, root: PublicKey, root_der: Vec<u8>, set: &[u8]) -> Result<Signing, PkiError> {
    let path = dir.join(KEY_SET);
    let unreadable = |reason: String| PkiError::Unreadable { path: path.clone(), reason };
    let envelope = Envelope::parse(set).map_err(|error| unreadable(error.to_string()))?;
    let set = KeySet::open(&envelope, &root, 0).map_err(|error| unreadable(error.to_string()))?;
    // The newest signs.
    let newest = set.keys.iter().max_by_key(|key| key.not_before).ok_or_else(|| unreadable("no key".to_owned()))?;
    let id = newest.key.id();
    let (key_path, pem_path) = (issuer_path(dir, &id, "key"), issuer_path(dir, &id, "pem"));
    let half = |missing: &Path| PkiError::Half { missing: missing.to_owned(), there: path.clone() };
    let issuer = files::read_signing_key(&key_path)?.ok_or_else(|| half(&key_path))?;
    if issuer.public() != newest.key {
        return Err(PkiError::Unreadable {
            path: key_path,
            reason: "it holds another key than its name says".to_owned(),
        });
    }
    let issuer_der = files::read_certificates(&pem_path)?.ok_or_else(|| half(&pem_path))?;
    let issuer_der = issuer_der.first().map(|der| der.to_vec()).unwrap_or_default();
    Ok(Signing { root, root_der, issuer, issuer_der, set, envelope })
}

#[cfg(test)]
mod tests;
