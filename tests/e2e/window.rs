//! The law of the rate, judged from outside: what was admitted in any second, and what an exact window would have
//! admitted of the same offers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::capture::Question;

const SECOND: Duration = Duration::from_secs(1);

/// What a capture shows of the rate.
#[derive(Debug)]
pub(crate) struct Judgment {
    /// Admissions that took a calls-per-second license.
    pub(crate) consumed: usize,
    /// Attempts that came again after a challenge and took none.
    pub(crate) reattempts: usize,
    /// The most consumptions whose question *and* answer lie within one second: a proof if above the limit.
    pub(crate) proven_peak: usize,
    /// What an exact window would have admitted of the same offers, at the moments of asking or of answering, whichever are
    /// fewer: it decides somewhere between, and a host that stalls moves offers together.
    pub(crate) exact: usize,
}

/// How long a released call may be remembered: 32 s, and what the gate rounds up.
const REMEMBERED: Duration = Duration::from_millis(32_100);

/// How long a refusal is surely repeated.
const REPEATED: Duration = Duration::from_secs(2);

/// What the wire told of one call so far.
#[derive(Debug, Default)]
struct Told {
    /// Its last attempt.
    seq: Option<u64>,
    /// It is live, and whether the attempt that it lives by paid.
    live_paid: Option<bool>,
    /// Until when an attempt behind its release is free: that of one that paid, and one such.
    free_until: Option<Duration>,
    /// When its last attempt was refused.
    refused: Option<Duration>,
}

/// Judges the admissions of one run against `limit` a second. Questions without an answer are left out.
///
/// The moment of a decision is not on the wire; it lies between its question and its answer. So a second holds too many
/// for certain only if that many questions and answers lie wholly within it, and no skew between clocks can raise a
/// false alarm.
///
/// Who pays is the gate's rule: each attempt, but for the first one behind the release of one that paid.
pub(crate) fn judge(questions: &[Question], limit: usize) -> Judgment {
    let mut consumed: Vec<(Duration, Duration)> = Vec::new();
    let mut offers: Vec<(Duration, Duration)> = Vec::new();
    let mut reattempts = 0;
    let mut calls: BTreeMap<&str, Told> = BTreeMap::new();
    let mut in_order: Vec<&Question> = questions.iter().filter(|q| q.verb == "admit" || q.verb == "release").collect();
    in_order.sort_by_key(|question| question.asked);
    for question in in_order {
        let Some(answered) = question.answered else { continue };
        let call = calls.entry(&question.id).or_default();
        if question.verb == "release" {
            if let Some(paid) = call.live_paid.take() {
                call.free_until = paid.then_some(answered + REMEMBERED);
            }
            continue;
        }
        let repeated = call.seq == question.seq
            && (call.live_paid.is_some() || call.refused.is_some_and(|at| question.asked < at + REPEATED));
        if repeated || ["duplicate", "late", "deadline", "draining"].contains(&question.cause.as_str()) {
            continue;
        }
        let free = call.live_paid.is_none() && call.free_until.is_some_and(|until| question.asked < until);
        call.seq = question.seq;
        if !free {
            offers.push((question.asked, answered));
        }
        if question.admitted != Some(true) {
            // What was due stays due, and a live call lives on.
            call.refused = Some(question.asked);
            continue;
        }
        (call.live_paid, call.free_until, call.refused) = (Some(!free), None, None);
        if free {
            reattempts += 1;
        } else {
            consumed.push((question.asked, answered));
        }
    }
    let asked = offers.iter().map(|(asked, _)| *asked).collect();
    let answered = offers.iter().map(|(_, answered)| *answered).collect();
    Judgment {
        consumed: consumed.len(),
        reattempts,
        proven_peak: proven_peak(&consumed),
        exact: exact(asked, limit).min(exact(answered, limit)),
    }
}

/// The most brackets that lie wholly within one second.
pub(crate) fn proven_peak(brackets: &[(Duration, Duration)]) -> usize {
    let within = |from: Duration| {
        brackets.iter().filter(|(asked, answered)| *asked >= from && *answered < from + SECOND).count()
    };
    brackets.iter().map(|(asked, _)| within(*asked)).max().unwrap_or(0)
}

/// What a window that forgets exactly after one second admits of these offers.
fn exact(mut offers: Vec<Duration>, limit: usize) -> usize {
    offers.sort_unstable();
    let mut inside: VecDeque<Duration> = VecDeque::new();
    let mut admitted = 0;
    for offer in offers {
        while inside.front().is_some_and(|first| *first + SECOND <= offer) {
            inside.pop_front();
        }
        if inside.len() < limit {
            inside.push_back(offer);
            admitted += 1;
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(ms: u64, id: &str, seq: u64, admitted: bool) -> Question {
        let asked = Duration::from_millis(ms);
        Question {
            asked,
            answered: Some(asked + Duration::from_micros(100)),
            verb: "admit".into(),
            id: id.into(),
            seq: Some(seq),
            admitted: Some(admitted),
            cause: "ok".into(),
        }
    }

    fn release(ms: u64, id: &str) -> Question {
        Question { verb: "release".into(), seq: None, ..admit(ms, id, 0, true) }
    }

    #[test]
    fn one_too_many_in_a_second_is_seen() {
        let run: Vec<_> = (0..6).map(|n| admit(n * 190, &n.to_string(), 1, true)).collect();
        assert_eq!(judge(&run, 5).proven_peak, 6);
        let run: Vec<_> = (0..6).map(|n| admit(n * 200, &n.to_string(), 1, true)).collect();
        assert_eq!(judge(&run, 5).proven_peak, 5);
    }

    #[test]
    fn the_exact_window_admits_again_as_soon_as_a_second_has_passed() {
        let run: Vec<_> = (0..21).map(|n| admit(n * 100, &n.to_string(), 1, true)).collect();
        assert_eq!(judge(&run, 5).exact, 11);
    }

    #[test]
    fn what_a_stall_answers_together_is_judged_as_offered_together() {
        let mut run: Vec<_> = (0..20).map(|n| admit(n * 100, &n.to_string(), 1, true)).collect();
        assert_eq!(judge(&run, 5).exact, 10);
        for late in &mut run[..15] {
            late.answered = Some(Duration::from_millis(1_450));
        }
        assert_eq!(judge(&run, 5).exact, 5);
    }

    #[test]
    fn a_challenged_attempt_counts_once_and_its_retransmission_not_at_all() {
        let run = [
            admit(0, "a", 1, true),
            admit(1, "a", 1, true),
            release(10, "a"),
            admit(20, "a", 2, true),
            admit(30, "a", 3, true),
        ];
        let judgment = judge(&run, 5);
        assert_eq!((judgment.consumed, judgment.reattempts), (2, 1));
    }

    /// A call that is challenged over and over: what a client sees of a gate that lets all but the first attempt pass for free.
    fn chain(attempts: u64) -> Vec<Question> {
        (1..=attempts).flat_map(|seq| [admit(seq * 20, "a", seq, true), release(seq * 20 + 10, "a")]).collect()
    }

    #[test]
    fn only_the_first_attempt_behind_one_that_paid_is_free() {
        let judgment = judge(&chain(6), 5);
        assert_eq!((judgment.consumed, judgment.reattempts), (3, 3), "the third and the fifth pay again");
    }

    #[test]
    fn a_gate_that_lets_a_chain_of_attempts_pass_for_free_is_caught() {
        // By its own count it admitted one, of a limit of five.
        let judgment = judge(&chain(12), 5);
        assert_eq!((judgment.consumed, judgment.proven_peak), (6, 6));
    }

    #[test]
    fn a_refused_attempt_uses_up_nothing_that_was_due() {
        let run = [
            admit(0, "a", 1, true),
            release(10, "a"),
            admit(20, "a", 2, false),
            admit(30, "a", 2, false),
            admit(40, "a", 3, true),
            release(50, "a"),
            admit(60, "a", 4, false),
            release(70, "a"),
            admit(80, "a", 5, true),
        ];
        let judgment = judge(&run, 5);
        assert_eq!((judgment.consumed, judgment.reattempts), (2, 1), "the first and the last pay");
    }

    #[test]
    fn a_release_is_forgotten_after_its_time_and_what_comes_then_pays() {
        let run = [admit(0, "a", 1, true), release(10, "a"), admit(40_000, "a", 2, true)];
        let judgment = judge(&run, 5);
        assert_eq!((judgment.consumed, judgment.reattempts), (2, 0));
    }
}
