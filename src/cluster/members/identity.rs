//! Who a member is to the membership protocol, and the dice that it throws.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use crate::cluster::ids::{Incarnation, LedgerId, NodeName};

/// A node in one of its lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Its name: where datagrams go.
    pub name: NodeName,
    /// Rises with each life, and within one whenever others hold the node for down or know its name under a higher one. Of
    /// two identities of a name the higher is believed.
    pub generation: u64,
    /// The incarnation of its ledger.
    pub inc: Incarnation,
    /// Its ledger.
    pub ledger: LedgerId,
}

impl Identity {
    /// Somebody of that name, whoever it is now: to announce oneself to.
    pub(super) const fn anybody(name: NodeName) -> Self {
        Self { name, generation: 0, inc: Incarnation(0), ledger: LedgerId(0) }
    }

    fn rank(&self) -> (u64, Incarnation, LedgerId) {
        (self.generation, self.inc, self.ledger)
    }
}

impl foca::Identity for Identity {
    type Addr = NodeName;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeName {
        self.name.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.rank() > adversary.rank()
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same on every run of a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next throw.
    pub const fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A throw below `bound`; 0 if that is 0. Evenly enough: bounds are small.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.throw() % bound).unwrap_or(0)
    }
}

impl rand_core::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::try_from(self.throw() >> 32).unwrap_or(0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.throw())
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for piece in target.chunks_mut(8) {
            let bytes = self.throw().to_le_bytes();
            for (byte, thrown) in piece.iter_mut().zip(bytes) {
                *byte = thrown;
            }
        }
        Ok(())
    }
}
