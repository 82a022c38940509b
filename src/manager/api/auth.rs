//! Who asks: API keys, sessions after a login, or whoever may open the admin socket.
//!
//! What must stay true: a secret is looked up by its hash alone, never compared as text; a password that is wrong takes as long as
//! one for a user that doesn't exist; a disabled user's sessions end at once, as each request looks at the user again.

use std::collections::HashMap;
use std::net::IpAddr;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::problem::Problem;
use super::{Api, Peer};
use crate::manager::domain::{Actor, Role, User, UserId};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

/// How long a session lasts, in milliseconds.
const SESSION_MS: u64 = 8 * 3_600_000;
/// How long it lasts unused.
const IDLE_MS: u64 = 30 * 60_000;
/// The most open sessions; one more ends the one that was unused longest.
const SESSIONS_MAX: usize = 10_000;
/// The most open sessions of one user.
const SESSIONS_PER_USER_MAX: usize = 20;

const SESSION_PREFIX: &str = "cgs_";
const API_KEY_PREFIX: &str = "cgk_";

/// What a password must be.
pub(super) const PASSWORD_ACCEPTED: &str = "12 to 256 characters";

type SessionHash = [u8; 32];

#[derive(Debug)]
struct Session {
    user: UserId,
    name: String,
    /// When the password that opened it was set: another password ends it.
    password_at: UnixMillis,
    until: UnixMillis,
    used: UnixMillis,
}

/// Open sessions, and the hasher of passwords.
#[derive(Debug)]
pub(super) struct Logins {
    sessions: Mutex<HashMap<SessionHash, Session>>,
    /// Hashing a password takes tens of milliseconds and megabytes, on purpose; not too many at once.
    hashing: Semaphore,
    entropy: Mutex<Entropy>,
    /// A hash that no password fits.
    nobody: String,
}

/// A session that was opened. The text is shown once.
pub(super) struct Opened {
    pub(super) text: Zeroizing<String>,
    pub(super) until: UnixMillis,
}

fn hasher() -> Argon2<'static> {
    // OWASP's recommendation for argon2id: 19 MiB, two rounds, one lane; these are the crate's defaults too.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

fn hash_of(text: &str) -> SessionHash {
    Sha256::digest(text.as_bytes()).into()
}

fn hash_password(password: &str, salt: [u8; 16]) -> Result<String, Problem> {
    let failed =
        |error: argon2::password_hash::Error| Problem::failed(format!("the password can't be hashed: {error}"));
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Ok(hasher().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

fn fits(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hasher().verify_password(password.as_bytes(), &hash).is_ok())
}

impl Logins {
    pub(super) fn new(mut entropy: Entropy) -> Result<Self, Problem> {
        let unguessable = URL_SAFE_NO_PAD.encode(entropy.bytes::<32>());
        let nobody = hash_password(&unguessable, entropy.bytes())?;
        Ok(Self {
            sessions: Mutex::new(HashMap::new()),
            hashing: Semaphore::new(2),
            entropy: Mutex::new(entropy),
            nobody,
        })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let failed = || Problem::failed("passwords can't be checked now");
        let _place = self.hashing.acquire().await.map_err(|_| failed())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| failed())
    }

    /// A password's hash, for storing.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Problem> {
        if !(12..=256).contains(&password.chars().count()) {
            let found = format!("{} characters", password.chars().count());
            return Err(Problem::field("password", &found, PASSWORD_ACCEPTED));
        }
        let salt = self.entropy.lock().bytes();
        self.blocking(move || hash_password(&password, salt)).await?
    }

    /// Whether this is the user's password.
    pub(super) async fn check(&self, user: Option<&User>, password: Zeroizing<String>) -> Result<bool, Problem> {
        if password.len() > 1_024 {
            return Ok(false);
        }
        let known = user.is_some_and(|user| !user.disabled);
        let hash = user.map_or_else(|| self.nobody.clone(), |user| user.password_hash.clone());
        Ok(self.blocking(move || fits(&password, &hash)).await? && known)
    }

    pub(super) fn open(&self, user: &User, now: UnixMillis) -> Opened {
        let secret: [u8; 32] = self.entropy.lock().bytes();
        let text = Zeroizing::new(format!("{SESSION_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)));
        let until = UnixMillis(now.0.saturating_add(SESSION_MS));
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| is_open(session, now));
        let oldest = |sessions: &HashMap<SessionHash, Session>, of: Option<UserId>| {
            let wanted = sessions.iter().filter(|(_, session)| of.is_none_or(|user| session.user == user));
            wanted.min_by_key(|(_, session)| session.used).map(|(hash, _)| *hash)
        };
        let own = sessions.values().filter(|session| session.user == user.id).count();
        let gone = if own >= SESSIONS_PER_USER_MAX {
            oldest(&sessions, Some(user.id))
        } else if sessions.len() >= SESSIONS_MAX {
            oldest(&sessions, None)
        } else {
            None
        };
        if let Some(hash) = gone {
            sessions.remove(&hash);
        }
        let session =
            Session { user: user.id, name: user.name.clone(), password_at: user.password_at, until, used: now };
        sessions.insert(hash_of(&text), session);
        Opened { text, until }
    }

    pub(super) fn close(&self, text: &str) -> bool {
        self.sessions.lock().remove(&hash_of(text)).is_some()
    }

    /// Whose session this is, if it is open.
    fn user_of(&self, text: &str, now: UnixMillis) -> Option<(String, UserId, UnixMillis)> {
        let mut sessions = self.sessions.lock();
        let hash = hash_of(text);
        let session = sessions.get_mut(&hash)?;
        if !is_open(session, now) {
            sessions.remove(&hash);
            return None;
        }
        session.used = now;
        Some((session.name.clone(), session.user, session.password_at))
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.lock().len()
    }
}

fn is_open(session: &Session, now: UnixMillis) -> bool {
    now < session.until && now.0 < session.used.0.saturating_add(IDLE_MS)
}

/// The bearer's secret of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Who asks. The admin socket belongs to who can open it: they act as the owner, and the audit log names them `local`.
pub(super) async fn actor(api: &Api, peer: &Peer, headers: &HeaderMap) -> Result<Actor, Problem> {
    if peer.local {
        return Ok(Actor { name: "local".to_owned(), role: Role::Owner, address: None });
    }
    let Some(secret) = bearer(headers) else {
        return Err(Problem::unauthorized(
            "send Authorization: Bearer, with an API key or what POST /v1/sessions answered",
        ));
    };
    // A good key passes however many guesses came from its address: others may share it.
    let found = if secret.starts_with(API_KEY_PREFIX) && secret.len() <= 256 {
        let secret = Zeroizing::new(secret.to_owned());
        api.service.read(move |domain, now| domain.authenticate_api_key(&secret, now)).await?
    } else {
        match api.logins.user_of(secret, api.service.now()) {
            None => None,
            Some((name, id, password_at)) => {
                let user = api.service.read(move |domain, _| domain.user_by_name(&name).cloned()).await?;
                user.filter(|user| user.id == id && user.password_at == password_at && !user.disabled)
                    .map(|user| Actor { name: format!("user:{}", user.name), role: user.role, address: None })
            }
        }
    };
    match found {
        Some(actor) => {
            peer.known.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(Actor { address: peer.address, ..actor })
        }
        None => {
            if let Some(address) = peer.address {
                api.key_guesses.take(address, api.clock.tick()).map_err(|seconds| too_many(address, seconds))?;
                // As often as the limiter lets through.
                tracing::warn!(%address, "an API key or session was rejected");
            }
            Err(Problem::unauthorized("the key or session isn't known, was revoked, or has ended"))
        }
    }
}

/// Counts a guess; too many from one address are refused without being looked at.
pub(super) fn guess(api: &Api, address: Option<IpAddr>) -> Result<(), Problem> {
    let Some(address) = address else { return Ok(()) };
    api.guesses.take(address, api.clock.tick()).map_err(|seconds| too_many(address, seconds))
}

fn too_many(address: IpAddr, seconds: u64) -> Problem {
    let detail = format!("too many tries from {address}; the next in {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many tries", detail).later(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, hash: &str) -> User {
        User {
            id: UserId::generate(&mut Entropy::from_seed([u8::try_from(name.len()).unwrap(); 32])),
            name: name.to_owned(),
            role: Role::Operator,
            password_hash: hash.to_owned(),
            disabled: false,
            created_at: UnixMillis(1),
            password_at: UnixMillis(1),
        }
    }

    fn logins() -> Logins {
        Logins::new(Entropy::from_seed([1; 32])).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_a_disabled_user_has_none_that_fits() {
        let logins = logins();
        let hash = logins.hash(secret("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let mut user = user("ann", &hash);
        assert!(logins.check(Some(&user), secret("correct horse battery")).await.unwrap());
        assert!(!logins.check(Some(&user), secret("correct horse batterz")).await.unwrap());
        assert!(!logins.check(None, secret("correct horse battery")).await.unwrap());
        user.disabled = true;
        assert!(!logins.check(Some(&user), secret("correct horse battery")).await.unwrap());
        for short in ["", "12345678901", &"x".repeat(257)] {
            assert!(logins.hash(secret(short)).await.is_err(), "{}", short.len());
        }
    }

    #[test]
    fn a_session_ends_with_its_time_or_when_unused_or_closed() {
        let (logins, user) = (logins(), user("ann", ""));
        let minute = |n: u64| UnixMillis(n * 60_000);
        let one = logins.open(&user, minute(0));
        assert!(logins.user_of(&one.text, minute(29)).is_some());
        assert!(logins.user_of(&one.text, minute(58)).is_some(), "each use prolongs it");
        assert!(logins.user_of(&one.text, minute(88)).is_none(), "30 minutes unused");
        let two = logins.open(&user, minute(0));
        for n in 0..48 {
            assert!(logins.user_of(&two.text, minute(n * 10)).is_some(), "{n}");
        }
        assert!(logins.user_of(&two.text, minute(480)).is_none(), "8 hours in all");
        let three = logins.open(&user, minute(0));
        assert!(logins.close(&three.text) && !logins.close(&three.text));
        assert!(logins.user_of(&three.text, minute(0)).is_none());
        assert!(logins.user_of("cgs_nonsense", minute(0)).is_none());
    }

    #[test]
    fn a_user_has_so_many_sessions_and_the_oldest_makes_room() {
        let (logins, user) = (logins(), user("ann", ""));
        let first = logins.open(&user, UnixMillis(0));
        for n in 1..=20 {
            drop(logins.open(&user, UnixMillis(n)));
        }
        assert_eq!(logins.count(), SESSIONS_PER_USER_MAX);
        assert!(logins.user_of(&first.text, UnixMillis(30)).is_none());
    }
}
