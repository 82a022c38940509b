//! Secrets: read from files only, compared in constant time, never shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The largest file of secrets, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The most tokens of one file.
const TOKENS_MAX: usize = 256;
/// The shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest password or token, in bytes.
const SECRET_BYTES_MAX: usize = 512;

/// A password or token. Its `Debug` shows nothing of it, its memory is wiped when it goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Whether this is what a client sent. Takes the same time wherever the two first differ.
    #[must_use]
    pub fn matches(&self, sent: &[u8]) -> bool {
        self.0.as_slice().ct_eq(sent).into()
    }

    /// Its bytes, for what must be told to somebody else: a proxy's password. Never for a text that people read.
    #[must_use]
    pub(in crate::shell) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To ask for admission, and to read.
    Admission,
    /// Everything, also what changes the sidecar.
    Admin,
}

/// An HTTP bearer token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its text.
    pub secret: Secret,
    /// What it allows.
    pub role: Role,
}

/// What the secret files hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Secrets {
    /// From `listen.password_file`.
    pub resp_password: Option<Secret>,
    /// From `listen.tokens_file`; empty if there is none.
    pub http_tokens: Vec<Token>,
    /// From `license.proxy_password_file`.
    pub proxy_password: Option<Secret>,
    /// Those of `alarms.destination`, in its order.
    pub destinations: Vec<super::DestinationSecrets>,
}

impl Secrets {
    /// Whether this is one of the tokens. Looks at all of them, whatever it finds.
    #[must_use]
    pub fn token_matches(&self, sent: &[u8]) -> bool {
        self.http_tokens.iter().fold(false, |found, token| token.secret.matches(sent) | found)
    }
}

/// Why a file of secrets can't be used: what was found, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell) struct BadSecretFile {
    pub(in crate::shell) found: String,
    pub(super) accepted: String,
}

/// The password in a file's first line, and whether others than its owner can read it.
pub(in crate::shell) fn read_password(path: &Path) -> Result<(Secret, bool), BadSecretFile> {
    let accepted = format!("a file with a password of 1 to {SECRET_BYTES_MAX} bytes in its first line");
    let (text, open) = read(path, &accepted)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let password = line.strip_suffix(b"\r").unwrap_or(line);
    if password.is_empty() || password.len() > SECRET_BYTES_MAX {
        let found = format!("a first line of {} bytes in {}", password.len(), path.display());
        return Err(BadSecretFile { found, accepted });
    }
    Ok((Secret(Zeroizing::new(password.to_vec())), open))
}

/// The tokens of a file, one a line, and whether others than its owner can read it.
pub(super) fn read_tokens(path: &Path) -> Result<(Vec<Token>, bool), BadSecretFile> {
    let accepted = format!(
        "a file of 1 to {TOKENS_MAX} tokens, one a line, each of {TOKEN_BYTES_MIN} to {SECRET_BYTES_MAX} visible ASCII characters, with its role behind a blank: admission (which it is if none is said) or admin; lines that begin with # are left out"
    );
    let (text, open) = read(path, &accepted)?;
    let mut tokens = Vec::new();
    for (place, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (token, role) = match line.iter().position(u8::is_ascii_whitespace).map(|at| line.split_at(at)) {
            None => (line, Some(Role::Admission)),
            Some((token, role)) => (token, role_named(role.trim_ascii())),
        };
        let fits = role.is_some() && (TOKEN_BYTES_MIN..=SECRET_BYTES_MAX).contains(&token.len());
        if !fits || !token.iter().all(u8::is_ascii_graphic) || tokens.len() == TOKENS_MAX {
            let found = format!("line {} of {}, which is not one ({} bytes)", place + 1, path.display(), token.len());
            return Err(BadSecretFile { found, accepted });
        }
        tokens.push(Token { secret: Secret::new(token), role: role.unwrap_or(Role::Admission) });
    }
    if tokens.is_empty() {
        return Err(BadSecretFile { found: format!("no token in {}", path.display()), accepted });
    }
    Ok((tokens, open))
}

fn role_named(name: &[u8]) -> Option<Role> {
    match name {
        b"admission" => Some(Role::Admission),
        b"admin" => Some(Role::Admin),
        _ => None,
    }
}

fn read(path: &Path, accepted: &str) -> Result<(Zeroizing<Vec<u8>>, bool), BadSecretFile> {
    let refuse = |found: String| BadSecretFile { found, accepted: accepted.to_owned() };
    let unreadable = |error: std::io::Error| refuse(format!("{}, which cannot be read ({error})", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse(format!("{}, which is not a file", path.display())));
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(refuse(format!("{}, which is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok((text, metadata.permissions().mode() & 0o007 != 0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret(Zeroizing::new(b"hunter2".to_vec()));
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter") && !secret.matches(b"hunter22") && !secret.matches(b""));
    }

    #[test]
    fn a_password_is_the_first_line_and_an_open_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        fs::write(&path, "s3cret\r\nignored\n").unwrap();
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (password, found_open) = read_password(&path).unwrap();
            assert!(password.matches(b"s3cret"));
            assert_eq!(found_open, open, "{mode:o}");
        }
    }

    #[test]
    fn tokens_are_lines_and_a_bad_one_is_named_by_its_line_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, "# ops\n0123456789abcdef admission\n\nfedcba9876543210\n0000000000000000\tadmin\n").unwrap();
        let (http_tokens, _) = read_tokens(&path).unwrap();
        let roles: Vec<Role> = http_tokens.iter().map(|token| token.role).collect();
        assert_eq!(roles, [Role::Admission, Role::Admission, Role::Admin]);
        let secrets = Secrets { http_tokens, ..Secrets::default() };
        assert!(secrets.token_matches(b"fedcba9876543210") && secrets.token_matches(b"0123456789abcdef"));
        assert!(!secrets.token_matches(b"# ops") && !secrets.token_matches(b""));
        fs::write(&path, "0123456789abcdef\nshortsecret\n").unwrap();
        let refused = read_tokens(&path).unwrap_err();
        fs::write(&path, "0123456789abcdef root\n").unwrap();
        assert!(read_tokens(&path).unwrap_err().found.contains("line 1"), "no such role");
        assert!(refused.found.contains("line 2") && !refused.found.contains("shortsecret"), "{refused:?}");
    }

    #[test]
    fn a_missing_an_empty_and_a_huge_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(read_password(&path).is_err());
        for text in [String::new(), "\n\n".to_owned(), "x".repeat(70_000)] {
            fs::write(&path, &text).unwrap();
            assert!(read_password(&path).is_err() && read_tokens(&path).is_err(), "{} bytes", text.len());
        }
        assert!(read_password(directory.path()).is_err(), "a directory");
    }
}
