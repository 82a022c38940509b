//! Checks a limiter's answers while it is loaded. PURE.
//!
//! A client doesn't know when a limiter decided, only that it was between the question's sending and its answer's arrival. So the
//! checker reports what is **certain**: more admissions than the limit, each of which was asked and answered within one window of
//! less than a second; an id admitted anew although nobody had begun to release it. It never accuses a limiter that keeps its
//! limit; one that breaks it by one is caught once the round trips of a full window are short against the gap that follows.
//!
//! Why looking at windows that end with an answer is enough: shift any window to earlier times until it ends with the latest
//! answer that it holds; no question leaves it by that, and no answer does.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::span::SECOND;

/// One limit, and whether any window of one second held more.
#[derive(Debug)]
pub struct WindowChecker {
    limit: u64,
    /// Admissions answered so far whose question was sent within a second of the latest answer: instants of sending in order,
    /// each with how many share it.
    asked: VecDeque<(u64, u64)>,
    inside: u64,
    largest: u64,
    violations: u64,
    first: Option<Excess>,
}

/// A window that held more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excess {
    /// When the answer came that made it certain, in nanoseconds since the run began.
    pub at: u64,
    /// How many were certainly admitted within one second then.
    pub admitted: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowVerdict {
    /// What is limited: `calls`, or `trunk NAME`.
    pub scope: String,
    /// The limit per second.
    pub limit: u64,
    /// The most admissions that certainly fell into one second.
    pub largest: u64,
    /// Answers that came while their window held more than the limit.
    pub violations: u64,
    /// The first of them.
    pub first: Option<Excess>,
}

impl WindowChecker {
    /// Checks against so many admissions in any second.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, asked: VecDeque::new(), inside: 0, largest: 0, violations: 0, first: None }
    }

    /// An admission: its question was sent at `sent` or later, its answer was there at `answered`. Told in the order of the
    /// answers.
    pub fn admitted(&mut self, sent: u64, answered: u64) {
        // A window of less than a second that ends with this answer: what was sent a whole second before may lie outside.
        while let Some(&(oldest, count)) = self.asked.front()
            && oldest.saturating_add(SECOND) <= answered
        {
            self.asked.pop_front();
            self.inside -= count;
        }
        if sent.saturating_add(SECOND) > answered {
            self.insert(sent);
        }
        self.largest = self.largest.max(self.inside);
        if self.inside > self.limit {
            self.violations += 1;
            self.first.get_or_insert(Excess { at: answered, admitted: self.inside });
        }
    }

    fn insert(&mut self, sent: u64) {
        self.inside += 1;
        // Nearly always among the latest: answers come in about the order of their questions.
        let mut at = self.asked.len();
        for step in 0..16 {
            match at.checked_sub(1).and_then(|before| self.asked.get_mut(before)) {
                Some((instant, count)) if *instant == sent => {
                    *count += 1;
                    return;
                }
                Some((instant, _)) if *instant > sent && step < 15 => at -= 1,
                Some((instant, _)) if *instant > sent => break,
                Some(_) | None => {
                    self.asked.insert(at, (sent, 1));
                    return;
                }
            }
        }
        match self.asked.binary_search_by_key(&sent, |(instant, _)| *instant) {
            Ok(found) => self.asked[found].1 += 1,
            Err(place) => self.asked.insert(place, (sent, 1)),
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn verdict(&self, scope: &str) -> WindowVerdict {
        WindowVerdict {
            scope: scope.to_owned(),
            limit: self.limit,
            largest: self.largest,
            violations: self.violations,
            first: self.first,
        }
    }
}

/// Whether an id was admitted anew while it was live: a bit or two per call.
#[derive(Debug, Default)]
pub struct IdChecker {
    states: Vec<u8>,
    /// Calls admitted anew although no release of theirs had been sent.
    twice: u64,
    first: Option<u32>,
}

/// Which admission of its id one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The first.
    First,
    /// Another one, while the id was live: one too many.
    Twice,
    /// Another one, after the call's release was sent. A limiter may take it for a new attempt of the same call, such as one after
    /// an authentication challenge, that pays nothing.
    AfterItsEnd,
}

const ADMITTED: u8 = 1;
const RELEASE_SENT: u8 = 2;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdVerdict {
    /// Calls admitted in all.
    pub admitted: u64,
    /// Ids admitted anew although no release of theirs had been sent.
    pub twice: u64,
    /// The first such call's number.
    pub first: Option<u32>,
}

impl IdChecker {
    /// An answer said that this call was admitted anew (not: that it was known already).
    pub fn admitted(&mut self, call: u32) -> Admission {
        let state = self.state(call);
        match *state & (ADMITTED | RELEASE_SENT) {
            ADMITTED => {
                self.twice += 1;
                self.first.get_or_insert(call);
                Admission::Twice
            }
            0 => {
                *state = ADMITTED;
                Admission::First
            }
            _ => {
                *state = ADMITTED;
                Admission::AfterItsEnd
            }
        }
    }

    /// A release of this call is about to be sent.
    pub fn release_sent(&mut self, call: u32) {
        *self.state(call) |= RELEASE_SENT;
    }

    fn state(&mut self, call: u32) -> &mut u8 {
        let slot = crate::num::slot(call);
        if slot >= self.states.len() {
            self.states.resize(slot.saturating_add(1).next_power_of_two().max(1024), 0);
        }
        &mut self.states[slot]
    }

    /// What was found so far.
    #[must_use]
    pub fn verdict(&self, admitted: u64) -> IdVerdict {
        IdVerdict { admitted, twice: self.twice, first: self.first }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Tells the admissions in the order of their answers.
    fn checked(limit: u64, mut admissions: Vec<(u64, u64)>) -> WindowVerdict {
        admissions.sort_by_key(|(_, answered)| *answered);
        let mut checker = WindowChecker::new(limit);
        for (sent, answered) in admissions {
            checker.admitted(sent, answered);
        }
        checker.verdict("calls")
    }

    #[test]
    fn as_many_as_the_limit_in_every_second_is_no_violation() {
        let even = (0..500).map(|call| (call * 10 * MS, call * 10 * MS + 50_000)).collect();
        let verdict = checked(100, even);
        assert_eq!((verdict.largest, verdict.violations, verdict.first), (100, 0, None));
    }

    #[test]
    fn one_more_within_a_second_is_a_violation() {
        let verdict = checked(100, (0..101).map(|call| (call * MS, call * MS + 50_000)).collect());
        assert_eq!((verdict.largest, verdict.violations), (101, 1));
        assert_eq!(verdict.first, Some(Excess { at: 100 * MS + 50_000, admitted: 101 }));
    }

    #[test]
    fn what_may_lie_a_second_apart_is_not_accused() {
        // Asked at 0 and answered at 2 ms: it may have been admitted at 0, and the next at 1000 ms.
        assert_eq!(checked(1, vec![(0, 2 * MS), (999 * MS, 1000 * MS)]).violations, 0);
        assert_eq!(checked(1, vec![(1, 2 * MS), (999 * MS, 1000 * MS)]).violations, 1);
    }

    #[test]
    fn an_answer_that_took_longer_than_a_second_proves_nothing() {
        assert_eq!(checked(1, vec![(0, 1500 * MS), (600 * MS, 1400 * MS)]).violations, 0);
    }

    #[test]
    fn an_id_admitted_anew_before_its_release_was_sent_is_one_too_many() {
        let mut ids = IdChecker::default();
        assert_eq!(ids.admitted(7), Admission::First);
        ids.release_sent(7);
        assert_eq!(ids.admitted(7), Admission::AfterItsEnd);
        assert_eq!(ids.verdict(2).twice, 0);
        assert_eq!(ids.admitted(7), Admission::Twice);
        assert_eq!(ids.verdict(3), IdVerdict { admitted: 3, twice: 1, first: Some(7) });
    }

    /// By definition: the most admissions whose question and answer both lie in some window of less than a second.
    fn largest_by_definition(admissions: &[(u64, u64)]) -> u64 {
        let most = admissions.iter().map(|(_, end)| {
            admissions.iter().filter(|(sent, answered)| answered <= end && sent.saturating_add(SECOND) > *end).count()
        });
        crate::num::wide(most.max().unwrap_or(0))
    }

    proptest! {
        #[test]
        fn the_largest_window_is_the_one_of_the_definition(
            admissions in prop::collection::vec((0_u64..3000, 0_u64..1500), 0..120)
        ) {
            let admissions: Vec<(u64, u64)> =
                admissions.into_iter().map(|(sent, took)| (sent * MS, (sent + took) * MS)).collect();
            prop_assert_eq!(checked(1, admissions.clone()).largest, largest_by_definition(&admissions));
        }

        /// Soundness: a limiter that admits at most `limit` in any second is never accused, however long answers take.
        #[test]
        fn a_limiter_that_keeps_its_limit_is_never_accused(
            limit in 1_usize..8,
            attempts in prop::collection::vec((0_u64..40_000, 0_u64..400_000, 0_u64..400_000), 0..200)
        ) {
            let (mut now, mut held, mut admissions) = (2 * SECOND, VecDeque::new(), Vec::new());
            for (gap, before, after) in attempts {
                now += gap * 1_000;
                while held.front().is_some_and(|at: &u64| at + SECOND <= now) {
                    held.pop_front();
                }
                if held.len() < limit {
                    held.push_back(now);
                    admissions.push((now - before * 1_000, now + after * 1_000));
                }
            }
            prop_assert_eq!(checked(crate::num::wide(limit), admissions).violations, 0);
        }
    }
}
