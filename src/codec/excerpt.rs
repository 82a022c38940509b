//! A short, printable piece of what was found, for error messages.

use std::fmt;

const KEPT_MAX: usize = 40;

/// At most 40 bytes of what a client sent, shown escaped: an error can name what was found without carrying it whole,
/// and without a line break of the client's in a reply or a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; KEPT_MAX],
    kept: u8,
    cut: bool,
}

impl Excerpt {
    /// The beginning of `found`.
    #[must_use]
    pub fn of(found: &[u8]) -> Self {
        let mut bytes = [0; KEPT_MAX];
        let mut kept = 0;
        for (slot, byte) in bytes.iter_mut().zip(found) {
            *slot = *byte;
            kept += 1;
        }
        Self { bytes, kept, cut: found.len() > KEPT_MAX }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.bytes.get(..usize::from(self.kept)).unwrap_or(&[]);
        write!(f, "'{}{}'", kept.escape_ascii(), if self.cut { "..." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::Excerpt;

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(Excerpt::of(b"one\r\ntwo\xff").to_string(), r"'one\r\ntwo\xff'");
        assert_eq!(Excerpt::of(&[b'a'; 41]).to_string(), format!("'{}...'", "a".repeat(40)));
        assert_eq!(Excerpt::of(b"").to_string(), "''");
    }
}
