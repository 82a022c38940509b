//! A reload that gives a trunk another window, in every interleaving with those who take from it.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// A trunk's limit, and one above what its window is made for.
const LIMITS: [u32; 2] = [1, 16];

fn policy(cps: u32) -> Policy {
    let limits = GroupLimits { cps: Some(Cps::saturating(cps)), sessions: None };
    Policy { trunks: [("t".to_owned(), limits)].into(), ..open_policy() }
}

fn take(gate: &Gate, text: &str, now: Now) -> u32 {
    u32::from(gate.admit(&Admit { trunk: Some(name("t")), ..call(text) }, now).admitted)
}

fn explore(story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.max_branches = 20_000;
    model.check(story);
}

#[test]
fn loom_who_takes_while_a_window_is_replaced_is_in_the_new_one() {
    let now = Now { tick: Tick::from_secs(1_000), wall: UnixMillis(1_000_000) };
    for (shards, taker_spawned) in [(1, true), (1, false), (2, true), (2, false)] {
        explore(move || {
            let bounds = Bounds {
                calls_max: 40,
                memories_max: 4,
                id_texts_max: 0,
                rate_max: Cps::saturating(5_000),
                groups_max: 1,
                proxies_max: 1,
                shards,
            };
            let journals = vec![(); usize::from(shards)];
            let gate = Arc::new(Gate::new(policy(LIMITS[0]), bounds, hash_key(), 1, journals));
            let shared = Arc::clone(&gate);
            let taker = move |gate: &Gate| take(gate, "a", now) + take(gate, "b", now);
            let raise = move |gate: &Gate| gate.set_policy(policy(LIMITS[1]), now).unwrap();
            let taken = if taker_spawned {
                let taker = thread::spawn(move || taker(&shared));
                raise(&gate);
                taker.join().unwrap()
            } else {
                let raising = thread::spawn(move || raise(&shared));
                let taken = taker(&gate);
                raising.join().unwrap();
                taken
            };
            assert!((1..=2).contains(&taken), "{taken}");
            let rest: u32 = (0..20).map(|number| take(&gate, &format!("c{number}"), now)).sum();
            assert_eq!(taken + rest, LIMITS[1]);
        });
    }
}
