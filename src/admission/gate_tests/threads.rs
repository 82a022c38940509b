//! Many threads on one gate: limits hold, and everything that was taken is given back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Admits and releases from several threads while another resizes, housekeeps and looks.
fn stress(shards: u16) {
    const LIMIT: u32 = 50;
    let policy = |rate| Policy {
        rate: Some(Cps::saturating(rate)),
        trunks: [("t".to_owned(), GroupLimits { cps: None, sessions: Some(LIMIT) })].into(),
        export_control: Some(ExportControl { limit: LIMIT + 5, ..ExportControl::default() }),
        ..Policy::default()
    };
    let rig = Rig::bounded(policy(200), Bounds { shards, rate_max: Cps::saturating(1_000), ..BOUNDS });
    let gate = &rig.gate;
    let clock = AtomicU64::new(rig.now.tick.0);
    let at = |tick: u64| Now { tick: Tick(tick), wall: UnixMillis(0) };
    let admissions: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|thread| {
                let clock = &clock;
                scope.spawn(move || {
                    let mut live = VecDeque::new();
                    let mut admitted = Vec::new();
                    for number in 0..4_000 {
                        let now = at(clock.fetch_add(700_000, Ordering::SeqCst));
                        let text = format!("{thread}-{number}");
                        let admit = Admit { trunk: Some(name("t")), ..call(&text) };
                        if gate.admit(&admit, now).admitted {
                            admitted.push(now.tick.0);
                            live.push_back(text);
                        }
                        if (live.len() > 14 || number % 7 == 0)
                            && let Some(text) = live.pop_front()
                        {
                            let release = Request::Release { id: id(&text), seq: None };
                            gate.run(&[release], now, |answer| assert_eq!(answer, Answer::Known(true)));
                        }
                    }
                    for text in live {
                        let now = at(clock.load(Ordering::SeqCst));
                        gate.run(&[Request::Release { id: id(&text), seq: None }], now, |_| {});
                    }
                    admitted
                })
            })
            .collect();
        scope.spawn(|| {
            for number in 0..200 {
                let now = at(clock.load(Ordering::SeqCst));
                gate.housekeep(now);
                let status = gate.status(now);
                let used =
                    |limit: &str| status.limits.iter().find(|view| view.name == limit).map_or(0, |view| view.used);
                assert!(used("trunk-sessions:t") <= LIMIT && used("export-control") <= LIMIT + 5);
                gate.set_policy(policy(if number % 2 == 0 { 100 } else { 200 }), now).unwrap();
                std::thread::yield_now();
            }
        });
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut stamps: Vec<u64> = admissions.into_iter().flatten().collect();
    stamps.sort_unstable();
    assert!(stamps.len() > 500, "only {} were admitted", stamps.len());
    // Each decision is judged at its own clock, or a later one that another thread brought: never more than the higher limit in
    // a second, but for as many as were under way when a clock was read.
    for (number, stamp) in stamps.iter().enumerate() {
        let in_window = stamps[number..].iter().take_while(|other| **other < stamp + 1_000_000_000).count();
        assert!(in_window <= 200 + 3, "{in_window} in one second");
    }
    let end = Rig { now: at(clock.load(Ordering::SeqCst)), ..rig };
    assert_eq!((end.live(), end.used("trunk-sessions:t"), end.used("export-control")), (0, 0, 0));
}

#[test]
fn threads_on_one_shard_keep_every_limit_and_leak_nothing() {
    stress(1);
}

#[test]
fn threads_on_four_shards_keep_every_limit_and_leak_nothing() {
    stress(4);
}
