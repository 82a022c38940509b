//! Counts what happened, each second and in all, and judges it at the end.

use std::time::Duration;

use serde::Serialize;

use super::arrivals::Plan;
use super::caller::Called;
use super::judge::{Attempt, Judge};
use super::watch::Seen;
use crate::units::Tick;

/// One node, in one second or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) admitted: u64,
}

impl Counts {
    pub(super) const fn refused(self) -> u64 {
        self.offered - self.admitted
    }

    fn count(&mut self, attempt: &Attempt) {
        self.offered += 1;
        self.admitted += u64::from(attempt.admitted);
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self { offered: self.offered + other.offered, admitted: self.admitted + other.admitted }
    }
}

/// One node and its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Calls per second that it holds by its own grant.
    pub(super) holds: u32,
    /// Most calls come here now.
    pub(super) busy: bool,
    pub(super) counts: Counts,
    /// What it tells of itself; `None` while it tells nothing.
    pub(super) seen: Option<Seen>,
}

/// What happened to one node, in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct NodeSummary {
    pub(super) name: &'static str,
    /// Calls per second that it holds by its own grant.
    pub(super) holds: u32,
    pub(super) offered: u64,
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) most_admitted_in_a_second: u64,
    pub(super) most_borrowed: u64,
    pub(super) most_lent: u64,
}

/// What happened, in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Summary {
    /// No law was broken.
    pub(super) ok: bool,
    /// What was broken, in sentences.
    pub(super) broken: Vec<String>,
    pub(super) seconds: u64,
    pub(super) seed: u64,
    /// Calls per second that the nodes hold in sum.
    pub(super) bought: u32,
    pub(super) offered: u64,
    pub(super) admitted: u64,
    pub(super) refused: u64,
    /// What each node alone would have admitted.
    pub(super) static_split_admitted: u64,
    /// What one exact window over all nodes, without any delay, would have admitted.
    pub(super) common_window_admitted: u64,
    /// The most admissions that are proven to lie in one second, over all nodes.
    pub(super) fullest_second: u32,
    pub(super) live_calls_left: u64,
    pub(super) nodes: Vec<NodeSummary>,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Tally {
    plan: Plan,
    judge: Judge,
    summary: Summary,
}

impl Tally {
    /// For nodes with what each of them holds.
    pub(super) fn new(plan: Plan, nodes: &[(&'static str, u32)], seed: u64) -> Self {
        let homes: Vec<u32> = nodes.iter().map(|(_, holds)| *holds).collect();
        let node = |(name, holds): &(&'static str, u32)| NodeSummary { name, holds: *holds, ..NodeSummary::default() };
        Self {
            plan,
            judge: Judge::new(&homes),
            summary: Summary {
                seed,
                bought: homes.iter().sum(),
                nodes: nodes.iter().map(node).collect(),
                ..Summary::default()
            },
        }
    }

    /// Takes the attempts of a second, and what each node told at its end.
    pub(super) fn second(&mut self, attempts: &[Attempt], seen: &[Option<Seen>], now: Tick) -> Vec<Row> {
        let at = Duration::from_secs(self.summary.seconds);
        self.summary.seconds += 1;
        let busy = self.plan.busy(at);
        let counts = self.count(attempts);
        self.judge.settle(now);
        let seen = seen.iter().copied().chain(std::iter::repeat(None));
        let mut rows = Vec::new();
        for (place, ((node, counts), seen)) in self.summary.nodes.iter_mut().zip(counts).zip(seen).enumerate() {
            node.most_admitted_in_a_second = node.most_admitted_in_a_second.max(counts.admitted);
            if let Some(seen) = seen {
                node.most_borrowed = node.most_borrowed.max(seen.borrowed);
                node.most_lent = node.most_lent.max(seen.lent);
            }
            rows.push(Row { name: node.name, holds: node.holds, busy: place == busy, counts, seen });
        }
        rows
    }

    fn count(&mut self, attempts: &[Attempt]) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.summary.nodes.len()];
        for attempt in attempts {
            if let Some(counts) = counts.get_mut(attempt.node) {
                counts.count(attempt);
            }
        }
        for (node, counts) in self.summary.nodes.iter_mut().zip(&counts) {
            node.offered += counts.offered;
            node.admitted += counts.admitted;
            node.refused += counts.refused();
        }
        self.judge.take(attempts);
        let all = counts.iter().fold(Counts::default(), |sum, counts| sum.plus(*counts));
        self.summary.offered += all.offered;
        self.summary.admitted += all.admitted;
        self.summary.refused += all.refused();
        counts
    }

    /// Something that must not happen, as a sentence.
    pub(super) fn broke(&mut self, what: String) {
        self.summary.broken.push(what);
    }

    /// How it stands.
    pub(super) fn so_far(&self) -> Summary {
        Summary {
            static_split_admitted: self.judge.static_split(),
            common_window_admitted: self.judge.common_window(),
            fullest_second: self.judge.fullest(),
            ..self.summary.clone()
        }
    }

    /// Takes the last attempts, and judges all of it. `ends` are what the callers did and what each node told when they had
    /// ended.
    pub(super) fn finish(mut self, attempts: &[Attempt], ends: &[(Called, Option<Seen>)]) -> Summary {
        self.count(attempts);
        self.judge.finish();
        for (called, seen) in ends {
            self.summary.live_calls_left += left(*called, *seen);
        }
        let mut summary = self.so_far();
        if summary.fullest_second > summary.bought {
            summary.broken.push(format!(
                "a second held {} admissions, and {} were bought",
                summary.fullest_second, summary.bought
            ));
        }
        if summary.live_calls_left > 0 {
            summary.broken.push(format!("{} calls were still live when all had ended", summary.live_calls_left));
        }
        summary.ok = summary.broken.is_empty();
        summary
    }
}

/// Calls that were not released, or are live all the same. Somebody may have made calls of his own meanwhile, which are none
/// of ours.
fn left(called: Called, seen: Option<Seen>) -> u64 {
    let unreleased = called.admitted.saturating_sub(called.released);
    let Some(seen) = seen else { return unreleased };
    let of_others = seen.admitted.saturating_sub(called.admitted);
    unreleased.max(seen.live.saturating_sub(of_others))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { nodes: 2, busy_rate: 50.0, quiet_rate: 5.0, shift: Duration::from_secs(2) };

    fn tally() -> Tally {
        Tally::new(PLAN, &[("sip-a", 10), ("sip-b", 10)], 1)
    }

    fn admissions(count: u64, node: usize) -> Vec<Attempt> {
        let at = |n: u64| Tick::from_millis(5_000 + n * 20);
        (0..count).map(|n| Attempt { node, asked: at(n), answered: at(n), admitted: true }).collect()
    }

    fn ended(admitted: u64, released: u64, live: u64) -> (Called, Option<Seen>) {
        (Called { admitted, released }, Some(Seen { live, admitted, ..Seen::default() }))
    }

    #[test]
    fn a_run_within_the_law_is_ok_and_counts_what_happened() {
        let mut tally = tally();
        let seen = Seen { borrowed: 10, ..Seen::default() };
        let rows = tally.second(&admissions(20, 0), &[Some(seen), None], Tick::from_secs(6));
        assert_eq!((rows[0].counts.admitted, rows[0].busy, rows[1].busy), (20, true, false));
        let summary = tally.finish(&[], &[ended(20, 20, 0), ended(0, 0, 0)]);
        assert!(summary.ok, "{summary:?}");
        assert_eq!((summary.admitted, summary.fullest_second, summary.static_split_admitted), (20, 20, 10));
        assert_eq!((summary.nodes[0].most_borrowed, summary.nodes[0].most_admitted_in_a_second), (10, 20));
    }

    #[test]
    fn one_admission_more_than_was_bought_in_a_second_breaks_it() {
        let mut tally = tally();
        tally.second(&admissions(21, 0), &[], Tick::from_secs(6));
        let summary = tally.finish(&[], &[]);
        assert!(!summary.ok && summary.broken[0].contains("21 admissions, and 20 were bought"), "{summary:?}");
    }

    #[test]
    fn a_call_that_is_left_breaks_it_whoever_knows_of_it_and_one_of_somebody_else_does_not() {
        for (end, left) in [(ended(5, 4, 0), 1), (ended(5, 5, 2), 2), (ended(5, 5, 0), 0)] {
            let summary = tally().finish(&[], &[end]);
            assert_eq!((summary.live_calls_left, summary.ok), (left, left == 0), "{end:?}");
        }
        let foreign = (Called { admitted: 5, released: 5 }, Some(Seen { live: 1, admitted: 6, ..Seen::default() }));
        assert!(tally().finish(&[], &[foreign]).ok);
    }

    #[test]
    fn what_was_broken_before_the_end_stays() {
        let mut tally = tally();
        tally.broke("sip-a ended".to_owned());
        assert!(!tally.finish(&[], &[]).ok);
    }
}
