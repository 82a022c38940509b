//! The session table alone, without the gate around it: what finding, adding and removing an entry costs, by how many are live.
//!
//! `cargo bench --no-default-features --bench table`; a number behind `--` runs that many live entries alone. Beside it, in the same
//! rounds, a `HashMap` of the same entries under the same keys, which are hashes already: it keeps no order of time, no list and
//! no place that stays, so it is the floor, not a rival.
//!
//! The table is private to the crate: its files are compiled in here once more.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::{Duration, Instant};

use callgate::units;

use self::admission::entry::{Entry, Step, state};
use self::admission::table::Table;
use self::units::CallKey;

#[expect(
    dead_code,
    unused_imports,
    reason = "the gate uses what this bench does not, and the unit tests are not run here"
)]
#[path = "../src/admission"]
mod admission {
    pub(crate) mod record {
        pub(crate) use callgate::admission::*;
    }
    pub(crate) mod entry;
    mod index;
    mod prefetch;
    pub(crate) mod table;
}
mod paired;

/// Now, and when what is added ends: 300 s later, beyond what is measured.
const NOW: Step = Step(1_000);
const ENDS: Step = Step(1_000 + 4_470);
const ROUNDS: usize = 9;
const OPERATIONS: u32 = 200_000;

/// The finalizer of splitmix64: keys are as spread as hashes of ids are.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn key(number: u64) -> CallKey {
    CallKey { high: mix(number), low: mix(!number) }
}

/// Takes a hash for what it is.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
}

type Map = HashMap<(u64, u64), Entry, BuildHasherDefault<AsIs>>;

fn entry(key: CallKey) -> Entry {
    Entry { key, state: state::LIVE, ends: ENDS, ..bytemuck::Zeroable::zeroed() }
}

fn add(table: &mut Table, key: CallKey) {
    if let Some(place) = table.add_live(key) {
        table.entry_mut(place).ends = ENDS;
        table.arm(place, NOW);
    }
}

/// Which numbers are live, and which of them goes next: calls end in another order than they began in.
struct Live {
    numbers: Vec<u64>,
    next: u64,
    turn: u64,
}

impl Live {
    fn new(count: u64) -> Self {
        Self { numbers: (0..count).collect(), next: count, turn: 0 }
    }

    /// Any live number.
    fn any(&mut self) -> u64 {
        let place = self.place();
        self.numbers[place]
    }

    /// One that goes, and the one that comes.
    fn pair(&mut self) -> (u64, u64) {
        let place = self.place();
        self.next += 1;
        (std::mem::replace(&mut self.numbers[place], self.next), self.next)
    }

    fn place(&mut self) -> usize {
        self.turn += 1;
        let count = u64::try_from(self.numbers.len()).unwrap_or(1);
        usize::try_from(mix(self.turn) % count).unwrap_or(0)
    }
}

fn timed(operations: u32, mut once: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..operations).for_each(|_| once());
    begun.elapsed()
}

fn measure(count: u32) {
    let (mut table, mut map) = (Table::new(count + 1, 0), Map::default());
    let live = || Live::new(u64::from(count));
    for number in 0..u64::from(count) {
        let key = key(number);
        add(&mut table, key);
        map.insert((key.high, key.low), entry(key));
    }
    let (mut of_map, mut of_table) = (live(), live());
    paired::in_turns(
        &format!("lookup, {count} live"),
        ROUNDS,
        OPERATIONS,
        vec![
            (
                "HashMap",
                Box::new(|operations| {
                    timed(operations, || {
                        let key = key(of_map.any());
                        black_box(map.get(&(key.high, key.low)).map(|entry| entry.ends));
                    })
                }),
            ),
            (
                "session table",
                Box::new(|operations| {
                    timed(operations, || {
                        let key = key(of_table.any());
                        black_box(table.find(key).map(|place| table.entry(place).ends));
                    })
                }),
            ),
        ],
    );
    let (mut unknown_map, mut unknown_table) = (u64::MAX / 2, u64::MAX / 2);
    paired::in_turns(
        &format!("lookup of what is not there, {count} live"),
        ROUNDS,
        OPERATIONS,
        vec![
            (
                "HashMap",
                Box::new(|operations| {
                    timed(operations, || {
                        unknown_map += 1;
                        let key = key(unknown_map);
                        black_box(map.contains_key(&(key.high, key.low)));
                    })
                }),
            ),
            (
                "session table",
                Box::new(|operations| {
                    timed(operations, || {
                        unknown_table += 1;
                        black_box(table.find(key(unknown_table)));
                    })
                }),
            ),
        ],
    );
    let (mut of_map, mut of_table) = (live(), live());
    paired::in_turns(
        &format!("remove and insert, a pair, {count} live"),
        ROUNDS,
        OPERATIONS,
        vec![
            (
                "HashMap",
                Box::new(|operations| {
                    timed(operations, || {
                        let (gone, new) = of_map.pair();
                        let (gone, new) = (key(gone), key(new));
                        black_box(map.remove(&(gone.high, gone.low)));
                        map.insert((new.high, new.low), entry(new));
                    })
                }),
            ),
            (
                "session table",
                Box::new(|operations| {
                    timed(operations, || {
                        let (gone, new) = of_table.pair();
                        if let Some(place) = table.find(key(gone)) {
                            table.remove(place);
                        }
                        add(&mut table, key(new));
                    })
                }),
            ),
        ],
    );
    assert_eq!((table.live(), map.len()), (count, usize::try_from(count).unwrap_or(0)), "every pair left as many");
}

fn main() {
    let only: Option<u32> = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    [10, 100_000, 1_000_000].into_iter().filter(|count| only.is_none_or(|only| only == *count)).for_each(measure);
}
