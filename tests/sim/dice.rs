//! Random numbers that a seed repeats, and a running hash of what happened.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Below `bound`; 0 if that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.throw() % bound }
    }

    /// From `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap())).unwrap()
    }

    /// With so many chances in a thousand.
    pub const fn chance(&mut self, per_mille: u32) -> bool {
        (self.below(1000) as u32) < per_mille
    }

    /// A time until the next of events that come at random, `mean` apart.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let uniform = (self.throw() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - uniform).ln() * mean as f64) as u64
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}

const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// What happened, in one number: two runs of a story must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trace(pub u64);

impl Trace {
    pub const fn note(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ word);
    }

    pub fn note_bytes(&mut self, bytes: &[u8]) {
        self.note(xxhash_rust::xxh3::xxh3_64(bytes));
    }
}
