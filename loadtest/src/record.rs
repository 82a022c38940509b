//! What was measured: counts, latencies, and both second by second. PURE: instants come in.
//!
//! A latency counts from the instant at which the question should have been sent. A limiter that stalls for a second makes all
//! that come in that second wait, and they are counted so, though a client that waits would have sent but one.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::num;
use crate::span::SECOND;

/// The longest latency that is told apart: ten minutes.
const LONGEST: u64 = 600 * SECOND;

/// Which question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The first about a call.
    Admit,
    /// Another about the same call.
    Again,
    /// The call was answered.
    Confirm,
    /// The call has ended.
    Release,
    /// A peer's command.
    Command,
}

/// When a question was to be sent, was sent, and was answered, in nanoseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was to be sent.
    pub intended: u64,
    /// When it was handed to the system, or a little earlier.
    pub sent: u64,
    /// When its answer was there.
    pub answered: u64,
}

/// Counts of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Questions sent.
    pub asked: u64,
    /// Questions answered.
    pub answered: u64,
    /// Calls offered.
    pub offered: u64,
    /// Calls admitted.
    pub admitted: u64,
    /// Calls refused.
    pub refused: u64,
    /// Answers that said that the call is live already.
    pub duplicates: u64,
    /// Questions asked once more.
    pub retransmitted: u64,
    /// Calls confirmed.
    pub confirmed: u64,
    /// Calls released.
    pub released: u64,
    /// Calls whose release was lost on purpose.
    pub releases_lost: u64,
    /// Confirms and releases of calls that the limiter did not know.
    pub unknown: u64,
    /// Answers that said that the question was not understood or could not be answered.
    pub errors: u64,
    /// Questions without an answer.
    pub unanswered: u64,
    /// Connections that were lost.
    pub connections_lost: u64,
}

/// One second of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Second {
    /// Questions that were answered in it.
    pub answered: u64,
    /// Calls that were offered in it.
    pub offered: u64,
    /// Calls that were admitted in it.
    pub admitted: u64,
    /// Calls that were refused in it.
    pub refused: u64,
    /// Live calls at its end, as the client knows.
    pub live: u64,
    /// Latency of what was answered in it, in microseconds: median.
    pub p50_us: f64,
    /// 99 of a hundred were quicker.
    pub p99_us: f64,
    /// 999 of a thousand were quicker.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// A distribution of latencies, in microseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// Percentile and latency, from the median on, each with half as many above it as the one before, and the slowest last.
    pub percentiles: Vec<(f64, f64)>,
}

/// Percentiles that are kept.
const PERCENTILES: [f64; 14] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999, 100.0];

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let percentiles = match histogram.len() {
            0 => Vec::new(),
            _ => PERCENTILES.iter().map(|at| (*at, micros(histogram.value_at_quantile(at / 100.0)))).collect(),
        };
        let mean_us = if histogram.is_empty() { 0.0 } else { histogram.mean() / 1e3 };
        Self { count: histogram.len(), mean_us, percentiles }
    }

    /// The latency at one of the percentiles that are kept; nothing if nothing was measured.
    #[must_use]
    pub fn at(&self, percentile: f64) -> Option<f64> {
        self.percentiles.iter().find(|(at, _)| (at - percentile).abs() < 1e-6).map(|(_, latency)| *latency)
    }
}

/// Latencies of a whole run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// All questions, from the intended sending to the answer.
    pub all: Latency,
    /// First questions about calls.
    pub admit: Latency,
    /// Releases.
    pub release: Latency,
    /// First questions, from the actual sending to the answer: how long the limiter and the way there took.
    pub service: Latency,
    /// First questions, from the intended to the actual sending: how late the load was, by its own fault or for want of room in
    /// a pipeline.
    pub lag: Latency,
}

/// Takes down what happens.
#[derive(Debug)]
pub struct Recorder {
    /// Counts.
    pub totals: Totals,
    /// Live calls, as the client knows.
    pub live: u64,
    from: u64,
    /// By cause: its name, how often in all, how often in this second.
    causes: Vec<(Vec<u8>, u64, u64)>,
    refused_by_second: Vec<BTreeMap<String, u64>>,
    errors: BTreeMap<String, u64>,
    all: Histogram<u64>,
    admit: Histogram<u64>,
    release: Histogram<u64>,
    service: Histogram<u64>,
    lag: Histogram<u64>,
    seconds: Vec<Second>,
    now: Second,
    in_second: Histogram<u64>,
}

/// Causes and errors that are told apart.
const KINDS_MAX: usize = 64;

fn histogram(figures: u8) -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants and in order")]
    Histogram::new_with_bounds(1, LONGEST, figures).expect("bounds in order, at most five figures")
}

impl Recorder {
    /// Measures from that instant on; what came before is warming up.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self {
            totals: Totals::default(),
            live: 0,
            from,
            causes: Vec::new(),
            refused_by_second: Vec::new(),
            errors: BTreeMap::new(),
            all: histogram(3),
            admit: histogram(3),
            release: histogram(3),
            service: histogram(3),
            lag: histogram(3),
            seconds: Vec::new(),
            now: Second::default(),
            in_second: histogram(2),
        }
    }

    /// A question is sent.
    #[inline]
    pub fn asked(&mut self, question: Question, now: u64) {
        if now < self.from {
            return;
        }
        self.turn(now);
        self.totals.asked += 1;
        match question {
            Question::Admit => {
                self.totals.offered += 1;
                self.now.offered += 1;
            }
            Question::Again => self.totals.retransmitted += 1,
            Question::Confirm | Question::Release | Question::Command => {}
        }
    }

    /// A question was answered. Whether it was measured: not while warming up.
    #[inline]
    pub fn answered(&mut self, question: Question, times: Times) -> bool {
        if times.intended < self.from {
            return false;
        }
        self.turn(times.answered);
        self.totals.answered += 1;
        self.now.answered += 1;
        let latency = times.answered.saturating_sub(times.intended);
        self.all.saturating_record(latency);
        self.in_second.saturating_record(latency);
        match question {
            Question::Admit => {
                self.admit.saturating_record(latency);
                self.service.saturating_record(times.answered.saturating_sub(times.sent));
                self.lag.saturating_record(times.sent.saturating_sub(times.intended));
            }
            Question::Release => self.release.saturating_record(latency),
            Question::Again | Question::Confirm | Question::Command => {}
        }
        true
    }

    /// A call was admitted.
    #[inline]
    pub fn admitted(&mut self) {
        self.totals.admitted += 1;
        self.now.admitted += 1;
    }

    /// A call was refused.
    pub fn refused(&mut self, cause: &[u8]) {
        self.totals.refused += 1;
        self.now.refused += 1;
        if let Some((_, all, now)) = self.causes.iter_mut().find(|(name, _, _)| name == cause) {
            *all += 1;
            *now += 1;
        } else if self.causes.len() < KINDS_MAX {
            self.causes.push((cause.to_vec(), 1, 1));
        }
    }

    /// The other side did not understand, or could not answer.
    pub fn error(&mut self, text: &str) {
        self.totals.errors += 1;
        self.note(text);
    }

    /// Something that went wrong, by its text.
    pub fn note(&mut self, text: &str) {
        let text: String = text.chars().take(200).collect();
        if self.errors.contains_key(&text) || self.errors.len() < KINDS_MAX {
            *self.errors.entry(text).or_default() += 1;
        }
    }

    /// Ends the seconds that are over.
    #[inline]
    fn turn(&mut self, now: u64) {
        let second = num::index((now - self.from.min(now)) / SECOND);
        while self.seconds.len() < second {
            self.close();
        }
    }

    fn close(&mut self) {
        let at = |quantile| micros(self.in_second.value_at_quantile(quantile));
        let (p50_us, p99_us, p999_us, max_us) = (at(0.5), at(0.99), at(0.999), micros(self.in_second.max()));
        self.seconds.push(Second { live: self.live, p50_us, p99_us, p999_us, max_us, ..self.now });
        self.now = Second::default();
        self.in_second.reset();
        let refused = self.causes.iter_mut().filter(|(_, _, now)| *now > 0);
        self.refused_by_second.push(refused.map(|(name, _, now)| (lossy(name), std::mem::take(now))).collect());
    }

    /// All of it: seconds up to `end`, latencies, refusals by cause, errors by text.
    #[must_use]
    pub fn finish(mut self, end: u64) -> Recorded {
        self.turn(end);
        if self.now.answered > 0 || self.now.offered > 0 {
            self.close();
        }
        Recorded {
            totals: self.totals,
            refused_by_cause: self.causes.iter().map(|(cause, all, _)| (lossy(cause), *all)).collect(),
            refused_by_second: self.refused_by_second,
            errors_by_text: self.errors,
            latency: Latencies {
                all: Latency::of(&self.all),
                admit: Latency::of(&self.admit),
                release: Latency::of(&self.release),
                service: Latency::of(&self.service),
                lag: Latency::of(&self.lag),
            },
            seconds: self.seconds,
        }
    }
}

/// What a run has measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// Counts.
    pub totals: Totals,
    /// Refusals by cause.
    pub refused_by_cause: BTreeMap<String, u64>,
    /// Refusals by cause, second by second.
    pub refused_by_second: Vec<BTreeMap<String, u64>>,
    /// Errors by their text.
    pub errors_by_text: BTreeMap<String, u64>,
    /// Latencies.
    pub latency: Latencies,
    /// Second by second.
    pub seconds: Vec<Second>,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn micros(nanos: u64) -> f64 {
    num::float(nanos) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(intended: u64, sent: u64, answered: u64) -> Times {
        Times { intended, sent, answered }
    }

    #[test]
    fn a_latency_counts_from_the_intended_sending() {
        let mut recorder = Recorder::new(0);
        recorder.asked(Question::Admit, 900_000);
        recorder.answered(Question::Admit, times(100_000, 900_000, 1_000_000));
        let latency = recorder.finish(SECOND).latency;
        let median = |latency: &Latency| latency.at(50.0).unwrap().round();
        assert_eq!((median(&latency.admit), median(&latency.service), median(&latency.lag)), (900.0, 100.0, 800.0));
    }

    #[test]
    fn seconds_are_told_one_by_one_also_those_without_an_answer() {
        let mut recorder = Recorder::new(SECOND);
        recorder.answered(Question::Admit, times(0, 0, 5));
        for at in [SECOND + 10, SECOND + 20, 3 * SECOND + 10] {
            recorder.asked(Question::Admit, at);
            recorder.answered(Question::Admit, times(at, at, at + 10_000));
            recorder.admitted();
        }
        recorder.refused(b"cps");
        let recorded = recorder.finish(4 * SECOND);
        assert_eq!(recorded.seconds.iter().map(|second| second.answered).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(recorded.seconds.iter().map(|second| second.refused).sum::<u64>(), 1);
        assert_eq!(recorded.refused_by_cause["cps"], 1);
        assert_eq!((recorded.totals.answered, recorded.totals.admitted), (3, 3));
    }

    #[test]
    fn what_takes_longer_than_can_be_told_apart_counts_as_the_longest() {
        let mut recorder = Recorder::new(0);
        recorder.answered(Question::Release, times(0, 0, 3 * LONGEST));
        let most = recorder.finish(0).latency.release.at(100.0).unwrap();
        assert!(most >= 599e6, "{most}");
    }
}
