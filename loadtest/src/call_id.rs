//! Names of calls: as long as a Call-ID is, and never those of an earlier run. PURE.

/// Bytes of a name.
pub const LENGTH: usize = 24;

/// What a run's names begin with.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    head: [u8; LENGTH],
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Names {
    /// Names of the run with that mark.
    #[must_use]
    pub fn new(mark: u64) -> Self {
        let mut head = *b"lt00000000-00000000@load";
        // The low half, mixed with the high one.
        let mark = mark ^ (mark >> 32);
        for (place, digit) in head[2..10].iter_mut().rev().enumerate() {
            *digit = nibble(mark >> (4 * place));
        }
        Self { head }
    }

    /// The name of one call.
    #[must_use]
    pub fn of(&self, call: u32) -> [u8; LENGTH] {
        let mut name = self.head;
        for (place, digit) in name[11..19].iter_mut().rev().enumerate() {
            *digit = nibble(u64::from(call) >> (4 * place));
        }
        name
    }
}

fn nibble(value: u64) -> u8 {
    DIGITS[usize::try_from(value & 15).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_run_and_the_call() {
        let name = |mark, call| String::from_utf8(Names::new(mark).of(call).to_vec()).unwrap();
        assert_eq!(name(0x1234_abcd, 0xfe), "lt1234abcd-000000fe@load");
        assert_ne!(name(1, 1), name(2, 1));
        assert_ne!(name(1, 1), name(1, 2));
    }
}
