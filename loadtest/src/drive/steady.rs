//! One kind of work, as fast as it is answered or at given instants: for maxima, and for peers.

use std::collections::VecDeque;

use super::{Due, Progress, Source};
use crate::call_id::{LENGTH, Names};
use crate::checks::{Checks, Verdict};
use crate::record::{Question, Recorded, Recorder, Times};
use crate::wire::{Kind, Reply, Wire, resp};

/// What is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// New calls; once so many are live, a release for each.
    Calls {
        /// Live calls.
        live: usize,
    },
    /// The bytes of calls and releases, to a server that counts bytes: see [`Work::matched_length`].
    Matched,
    /// One command. Its answer is a number, a text, or an array; an error is an error.
    Command(Vec<u8>),
}

impl Work {
    /// The length of a question of [`Work::Matched`]. An admission and its release are together as long as those of
    /// [`Work::Calls`], and both are equally long, so that a server needs no parser to tell questions apart.
    #[must_use]
    pub fn matched_length() -> usize {
        let mut admit = Vec::new();
        write_matched(&mut admit, true);
        admit.len()
    }

    /// What that server answers, by turns on each connection.
    pub const MATCHED_ANSWERS: [&'static str; 2] = ["*5\r\n:1\r\n$2\r\nok\r\n:0\r\n:0\r\n:300\r\n", ":1\r\n"];
}

/// An id one byte longer with the shorter verb, one byte shorter with the longer one.
fn write_matched(out: &mut Vec<u8>, admit: bool) {
    const ID: [u8; LENGTH + 1] = [b'm'; LENGTH + 1];
    let (verb, id): (&[u8], &[u8]) = if admit { (b"ADMIT", &ID) } else { (b"RELEASE", &ID[..LENGTH - 1]) };
    resp::command(out, &[verb, id]);
}

/// When the next question is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// As soon as there is room in a pipeline, until that instant.
    Closed {
        /// In nanoseconds since the run began.
        until: u64,
    },
    /// At these instants, in order.
    Open(Vec<u64>),
}

/// One kind of work.
#[derive(Debug)]
pub struct Steady {
    work: Work,
    pace: Pace,
    /// Questions asked; so many instants of an open pace are over.
    asked: usize,
    wire: Wire,
    names: Names,
    next: u32,
    /// Admitted calls, the oldest first.
    live: VecDeque<u32>,
    /// By connection: the next question is an admission.
    turns: Vec<bool>,
    end: u64,
    recorder: Recorder,
    checks: Checks,
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    intended: u64,
    call: u32,
    question: Question,
}

impl Steady {
    /// That work at that pace, measured from `from` on.
    #[must_use]
    pub fn new(work: Work, pace: Pace, wire: Wire, names: Names, from: u64, checks: Checks) -> Self {
        let end = match &pace {
            Pace::Closed { until } => *until,
            Pace::Open(instants) => instants.last().copied().unwrap_or(0),
        };
        let recorder = Recorder::new(from);
        let (live, turns) = (VecDeque::new(), Vec::new());
        Self { work, pace, asked: 0, wire, names, next: 0, live, turns, end, recorder, checks }
    }

    /// Questions asked since the beginning, warming up included.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// What was measured and found.
    #[must_use]
    pub fn finish(self) -> (Recorded, Verdict) {
        (self.recorder.finish(self.end), self.checks.verdict())
    }

    fn turn(&mut self, connection: usize) -> bool {
        if connection >= self.turns.len() {
            self.turns.resize(connection + 1, true);
        }
        let turn = self.turns[connection];
        self.turns[connection] = !turn;
        turn
    }
}

impl Source for Steady {
    type Mark = Mark;

    fn eager(&self) -> bool {
        matches!(self.pace, Pace::Closed { .. })
    }

    #[inline]
    fn due(&mut self, now: u64) -> Due {
        match &self.pace {
            Pace::Closed { until } if now < *until => Due::At(now),
            Pace::Closed { .. } => Due::Idle,
            Pace::Open(instants) => instants.get(self.asked).map_or(Due::Idle, |at| Due::At(*at)),
        }
    }

    #[inline]
    fn ask(&mut self, connection: usize, now: u64, out: &mut Vec<u8>) -> Mark {
        let intended = match &self.pace {
            Pace::Closed { .. } => now,
            Pace::Open(instants) => instants.get(self.asked).copied().unwrap_or(now),
        };
        self.asked += 1;
        let mark = match &self.work {
            Work::Calls { live } if self.live.len() > *live => {
                let call = self.live.pop_front().unwrap_or(0);
                self.checks.release_sent(call);
                self.wire.release(out, &self.names.of(call));
                Mark { intended, call, question: Question::Release }
            }
            Work::Calls { .. } => {
                let call = self.next;
                self.next = self.next.wrapping_add(1);
                self.wire.admit(out, &self.names.of(call), None);
                Mark { intended, call, question: Question::Admit }
            }
            Work::Matched => {
                let admit = self.turn(connection);
                write_matched(out, admit);
                Mark { intended, call: 0, question: if admit { Question::Admit } else { Question::Release } }
            }
            Work::Command(bytes) => {
                out.extend_from_slice(bytes);
                Mark { intended, call: 0, question: Question::Command }
            }
        };
        self.recorder.asked(mark.question, now);
        mark
    }

    #[inline]
    fn answered(&mut self, mark: Mark, sent: u64, now: u64, reply: &Reply<'_>) {
        let measured = self.recorder.answered(mark.question, Times { intended: mark.intended, sent, answered: now });
        let totals = &mut self.recorder.totals;
        match (reply.kind, mark.question) {
            (Kind::Error, _) => self.recorder.error(&String::from_utf8_lossy(reply.text)),
            (Kind::Decision, Question::Admit) if reply.number != 0 => {
                if self.work != Work::Matched {
                    self.live.push_back(mark.call);
                    self.checks.admitted(mark.call, 0, sent, now);
                    self.recorder.live += 1;
                }
                if measured {
                    self.recorder.admitted();
                }
            }
            (Kind::Decision, Question::Admit) => {
                if measured {
                    self.recorder.refused(reply.text);
                }
            }
            (Kind::Number, Question::Release) => {
                self.recorder.live = self.recorder.live.saturating_sub(1);
                if measured {
                    let known = u64::from(reply.number != 0);
                    totals.released += known;
                    totals.unknown += 1 - known;
                }
            }
            (Kind::Decision | Kind::Number | Kind::Text, Question::Command) => {}
            (Kind::Decision | Kind::Number | Kind::Text, _) => {
                self.recorder.error("an answer of another kind than asked for");
            }
        }
    }

    fn lost(&mut self, _: Mark) {
        self.recorder.totals.unanswered += 1;
    }

    fn disconnected(&mut self, reason: &str) {
        self.recorder.totals.connections_lost += 1;
        self.recorder.note(&format!("connection lost: {reason}"));
    }

    fn tell(&self, progress: &Progress) {
        progress.counts(&self.recorder.totals, self.recorder.live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(work: Work) -> Steady {
        Steady::new(work, Pace::Closed { until: 1000 }, Wire::Resp, Names::new(1), 0, Checks::default())
    }

    #[test]
    fn each_admission_beyond_the_live_ones_has_its_release() {
        let mut source = steady(Work::Calls { live: 2 });
        let mut verbs = String::new();
        for now in 0..9 {
            let mut out = Vec::new();
            let mark = source.ask(0, now, &mut out);
            let admission = mark.question == Question::Admit;
            verbs.push(if admission { 'A' } else { 'R' });
            let kind = if admission { Kind::Decision } else { Kind::Number };
            source.answered(mark, now, now, &Reply { kind, number: 1, text: b"ok" });
        }
        assert_eq!(verbs, "AAARARARA");
        assert_eq!(source.due(1000), Due::Idle);
        assert!(source.finish().1.clean());
    }

    #[test]
    fn matched_bytes_are_as_many_as_those_of_calls() {
        let (mut admit, mut release, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        write_matched(&mut admit, true);
        write_matched(&mut release, false);
        let id = Names::new(1).of(1);
        Wire::Resp.admit(&mut calls, &id, None);
        Wire::Resp.release(&mut calls, &id);
        assert_eq!((admit.len(), release.len()), (Work::matched_length(), Work::matched_length()));
        assert_eq!(admit.len() + release.len(), calls.len());
    }

    #[test]
    fn an_open_pace_counts_latency_from_its_instants() {
        let mut source =
            Steady::new(Work::Matched, Pace::Open(vec![5, 10]), Wire::Resp, Names::new(1), 0, Checks::default());
        assert_eq!(source.due(0), Due::At(5));
        let mark = source.ask(0, 2000, &mut Vec::new());
        assert_eq!((mark.intended, source.due(2000)), (5, Due::At(10)));
    }
}
