//! Who may ask: the RESP password and the HTTP tokens.

use crate::shell::config::{Role, Secret, Secrets, Token};

/// Every secret that clients may name. Replaced as a whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The RESP password; `None` asks for none.
    pub resp_password: Option<Secret>,
    /// The HTTP tokens; none asks for none, but for administration.
    pub http_tokens: Vec<Token>,
}

impl From<&Secrets> for Access {
    fn from(secrets: &Secrets) -> Self {
        Self { resp_password: secrets.resp_password.clone(), http_tokens: secrets.http_tokens.clone() }
    }
}

impl Access {
    /// What this token allows. Looks at all of them, whatever it finds.
    #[must_use]
    pub fn role_of(&self, sent: &[u8]) -> Option<Role> {
        self.http_tokens.iter().fold(None, |best, token| {
            let matches = token.secret.matches(sent);
            if matches { best.max(Some(token.role)) } else { best }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_of_a_token_counts_and_nothing_shows_it() {
        let token = |text: &str, role| Token { secret: Secret::new(text.as_bytes()), role };
        let access = Access {
            resp_password: Some(Secret::new(b"hunter2")),
            http_tokens: vec![token("a", Role::Admission), token("b", Role::Admin), token("a", Role::Admission)],
        };
        assert_eq!(
            (access.role_of(b"a"), access.role_of(b"b"), access.role_of(b"")),
            (Some(Role::Admission), Some(Role::Admin), None)
        );
        assert!(!format!("{access:?}").contains("hunter2"));
    }
}
