//! What the calls prove: the fullest second over all nodes, and what other ways to use the same licenses would have
//! admitted of the same offers. Pure: it sees questions and answers with their instants, nothing else.
//!
//! The instant of a decision isn't known outside; it lies between question and answer, and all processes read one clock.
//! So a second holds too many for certain only if so many questions *and* answers lie within it. What is counted is proven,
//! and nothing that may be chance is held against anybody.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{NANOS_PER_SECOND, Tick};

/// One ADMIT, asked and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Which node was asked.
    pub(super) node: usize,
    /// Read before the question left.
    pub(super) asked: Tick,
    /// Read after the answer had come.
    pub(super) answered: Tick,
    /// What it was.
    pub(super) admitted: bool,
}

/// Judges attempts as they come.
#[derive(Debug)]
pub(super) struct Judge {
    /// Not looked at yet: others that were asked before may still wait for their answers.
    waiting: Vec<Attempt>,
    /// Admissions, by the instant of asking: those with which a second begins that isn't judged yet.
    recent: VecDeque<Attempt>,
    fullest: u32,
    common: ExactWindow,
    split: Vec<ExactWindow>,
}

impl Judge {
    /// For nodes that hold so many calls per second each.
    pub(super) fn new(homes: &[u32]) -> Self {
        Self {
            waiting: Vec::new(),
            recent: VecDeque::new(),
            fullest: 0,
            common: ExactWindow::new(homes.iter().sum()),
            split: homes.iter().map(|home| ExactWindow::new(*home)).collect(),
        }
    }

    /// Takes attempts, in any order.
    pub(super) fn take(&mut self, attempts: &[Attempt]) {
        self.waiting.extend_from_slice(attempts);
    }

    /// Judges the seconds that ended so long before `now` that their answers are known.
    pub(super) fn settle(&mut self, now: Tick) {
        self.judge(Tick(now.0.saturating_sub(NANOS_PER_SECOND)));
    }

    /// Judges all that is left: no more attempts come.
    pub(super) fn finish(&mut self) {
        self.judge(Tick(u64::MAX));
    }

    /// All attempts asked before `horizon` are known. One that comes later all the same counts as little as it proves.
    fn judge(&mut self, horizon: Tick) {
        self.waiting.sort_by_key(|attempt| attempt.asked);
        let known = self.waiting.partition_point(|attempt| attempt.asked < horizon);
        for attempt in self.waiting.drain(..known) {
            self.common.offer(attempt.asked);
            if let Some(own) = self.split.get_mut(attempt.node) {
                own.offer(attempt.asked);
            }
            if attempt.admitted {
                self.recent.push_back(attempt);
            }
        }
        while let Some(first) = self.recent.front() {
            let end = first.asked.plus_secs(1);
            if end > horizon {
                break;
            }
            let from_there = self.recent.iter().take_while(|attempt| attempt.asked < end);
            let inside = from_there.filter(|attempt| attempt.answered < end).count();
            self.fullest = self.fullest.max(u32::try_from(inside).unwrap_or(u32::MAX));
            self.recent.pop_front();
        }
    }

    /// The most admissions that are proven to lie in one second, over all nodes.
    pub(super) const fn fullest(&self) -> u32 {
        self.fullest
    }

    /// What one window over all nodes, exact and without any delay, would have admitted of the same offers.
    pub(super) const fn common_window(&self) -> u64 {
        self.common.admitted
    }

    /// What each node would have admitted with its own licenses alone.
    pub(super) fn static_split(&self) -> u64 {
        self.split.iter().map(|window| window.admitted).sum()
    }
}

/// A window that forgets an admission exactly one second later.
#[derive(Debug)]
struct ExactWindow {
    limit: usize,
    inside: VecDeque<Tick>,
    admitted: u64,
}

impl ExactWindow {
    fn new(limit: u32) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), inside: VecDeque::new(), admitted: 0 }
    }

    fn offer(&mut self, at: Tick) {
        let second = u64::try_from(Duration::from_secs(1).as_nanos()).unwrap_or(NANOS_PER_SECOND);
        while self.inside.front().is_some_and(|first| at.nanos_since(*first) >= second) {
            self.inside.pop_front();
        }
        if self.inside.len() < self.limit {
            self.inside.push_back(at);
            self.admitted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(node: usize, ms: u64, admitted: bool) -> Attempt {
        let asked = Tick::from_millis(10_000 + ms);
        Attempt { node, asked, answered: asked.plus_nanos(100_000), admitted }
    }

    fn judged(homes: &[u32], attempts: &[Attempt]) -> Judge {
        let mut judge = Judge::new(homes);
        judge.take(attempts);
        judge.finish();
        judge
    }

    #[test]
    fn one_too_many_over_all_nodes_in_one_second_is_seen() {
        let six: Vec<_> = (0..6).map(|n| attempt(usize::try_from(n % 2).unwrap(), n * 190, true)).collect();
        assert_eq!(judged(&[5, 0], &six).fullest(), 6);
        let six: Vec<_> = (0..6).map(|n| attempt(0, n * 200, true)).collect();
        assert_eq!(judged(&[5], &six).fullest(), 5);
    }

    #[test]
    fn an_answer_behind_the_second_proves_nothing_and_a_refusal_neither() {
        let late = Attempt { answered: Tick::from_millis(11_000), ..attempt(0, 500, true) };
        assert_eq!(judged(&[5], &[attempt(0, 0, true), late, attempt(0, 700, false)]).fullest(), 1);
    }

    #[test]
    fn it_is_the_same_judged_as_they_come_or_at_the_end_and_in_any_order() {
        let attempts: Vec<_> = (0..4000).map(|n| attempt(0, n * 7919 % 20_000, n % 3 > 0)).collect();
        let at_once = judged(&[100], &attempts);
        let mut in_time = attempts.clone();
        in_time.sort_by_key(|attempt| attempt.answered);
        let mut judge = Judge::new(&[100]);
        for some in in_time.chunks(37) {
            judge.take(some);
            judge.settle(some.last().unwrap().answered);
        }
        judge.finish();
        assert_eq!(judge.fullest(), at_once.fullest());
        assert_eq!(judge.common_window(), at_once.common_window());
        assert!(judge.recent.is_empty() && judge.waiting.is_empty());
    }

    #[test]
    fn a_static_split_refuses_at_the_busy_node_what_a_common_window_admits() {
        let attempts: Vec<_> = (0..20).map(|n| attempt(0, n * 10, true)).collect();
        let judge = judged(&[5, 5, 5], &attempts);
        assert_eq!((judge.static_split(), judge.common_window()), (5, 15));
    }
}
