//! Random bytes for nonces, serials and keys, from one seed that the shell draws from the operating system.
//!
//! A seed that fails a test replays exactly. Not a general generator: SHA-256 of the seed, a label and a counter.

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// A source of unpredictable bytes, as good as its seed.
///
/// ```
/// use callgate::protocol::Entropy;
/// let (mut one, mut other) = (Entropy::from_seed([7; 32]), Entropy::from_seed([7; 32]));
/// assert_eq!(one.bytes::<16>(), other.bytes::<16>());
/// assert_ne!(one.bytes::<16>(), one.bytes::<16>());
/// ```
#[derive(Clone)]
pub struct Entropy {
    seed: [u8; 32],
    counter: u64,
}

impl Entropy {
    /// A source. The seed must be 32 bytes that nobody can guess; a fixed one is for tests.
    #[must_use]
    pub const fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next `N` bytes, at most 32.
    #[must_use]
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32, "one block") };
        let block = Sha256::new()
            .chain_update(b"callgate entropy\n")
            .chain_update(self.seed)
            .chain_update(self.counter.to_le_bytes())
            .finalize();
        self.counter = self.counter.wrapping_add(1);
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(block) {
            *to = from;
        }
        bytes
    }

    /// The next number.
    #[must_use]
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entropy(..)")
    }
}
