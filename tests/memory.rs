//! What a call costs in memory: nothing on the fast path but a new call's entry, and at most 100 bytes for each live one.

use callgate::admission::{Admit, Answer, Bounds, CallId, Gate, GroupLimits, Name, Policy, Request};
use callgate::units::{Cps, HashKey, Now, Tick, UnixMillis};

use crate::counting_allocator::counted;

const LIVE: u64 = 1_000_000;

fn at(millis: u64) -> Now {
    Now { tick: Tick::from_millis(1_000_000 + millis), wall: UnixMillis(millis) }
}

fn text(number: u64) -> [u8; 24] {
    let mut text = *b"0000000000000000@example";
    for (place, digit) in text.iter_mut().take(16).enumerate() {
        *digit = b"0123456789abcdef"[usize::try_from(number >> (60 - 4 * place) & 15).expect("a digit")];
    }
    text
}

#[test]
fn a_million_live_calls_take_at_most_a_hundred_bytes_each() {
    let policy = Policy { rate: None, ..Policy::default() };
    let (gate, _, bytes) = counted(|| {
        let gate: Gate = Gate::new(policy, Bounds::default(), HashKey::from_bytes([3; 16]), 1, vec![()]);
        for number in 0..LIVE {
            let text = text(number);
            assert!(gate.admit(&Admit::call(CallId::new(&text).expect("an id")), at(number / 100)).admitted);
        }
        gate
    });
    assert_eq!(u64::from(gate.status(at(0)).calls_live), LIVE);
    // Everything that the gate holds: index, entries, id texts, windows; also what was made for more calls than these.
    let each = bytes / i64::try_from(LIVE).expect("fits");
    println!("{each} bytes per live call, at {LIVE} calls");
    assert!(each <= 100, "{each} bytes per live call");
}

#[test]
fn the_fast_path_allocates_nothing_once_it_has_seen_as_many_calls() {
    let policy = Policy {
        rate: Some(Cps::saturating(1_000)),
        trunks: [("t".to_owned(), GroupLimits { cps: Some(Cps::saturating(500)), sessions: Some(5_000) })].into(),
        ..Policy::default()
    };
    // Without the ids' texts, which are part of a new call's entry and allocated with it.
    let bounds = Bounds { calls_max: 20_000, memories_max: 5_000, id_texts_max: 0, ..Bounds::default() };
    let gate: Gate = Gate::new(policy, bounds, HashKey::from_bytes([3; 16]), 1, vec![()]);
    // A day of calls in small: admitted, refused, confirmed, asked twice, released, lapsed. What it allocated, but for housekeeping.
    let day = |from: u64| -> u64 {
        let mut allocations = 0;
        for number in from..from + 20_000 {
            let now = at(number);
            let (id, other) = (text(number), text(number + 1_000_000));
            let id = CallId::new(&id).expect("an id");
            let admit =
                Admit { trunk: Name::new(b"t").ok(), proxy: Name::new(b"p").ok(), seq: Some(1), ..Admit::call(id) };
            let requests = [
                Request::Admit(admit),
                Request::Admit(admit),
                Request::Confirm { id, seq: None, ttl_s: Some(2) },
                Request::Refresh { id },
                Request::Admit(Admit { ttl_s: Some(3), ..Admit::call(CallId::new(&other).expect("an id")) }),
            ];
            allocations += counted(|| gate.run(&requests, now, |_| {})).1;
            if number % 3 > 0 {
                let release = [Request::Release { id, seq: Some(1) }];
                allocations +=
                    counted(|| gate.run(&release, now, |answer| assert!(matches!(answer, Answer::Known(_))))).1;
            }
            if number % 50 == 0 {
                gate.housekeep(now);
            }
        }
        allocations
    };
    assert!(day(0) > 0, "the first day makes entries");
    day(20_000);
    assert_eq!(day(40_000), 0, "on the fast path of the third day");
    let status = gate.status(at(60_000));
    let refused: u64 = status.refused_total.iter().sum();
    assert!(
        refused > 1_000 && status.lapsed_total > 1_000 && status.released_total > 10_000,
        "the days were full: {status:?}"
    );
}
