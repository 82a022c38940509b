//! Planned calls: admit, perhaps once more, perhaps confirm, and release; each at its time, whatever the answers do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Due, Progress, Source};
use crate::call_id::Names;
use crate::checks::{Checks, Verdict};
use crate::num;
use crate::plan::{Call, Plan};
use crate::record::{Question, Recorded, Recorder, Times};
use crate::wire::{Kind, Reply, Wire};

/// All calls of a plan.
#[derive(Debug)]
pub struct PlannedCalls<'p> {
    plan: &'p Plan,
    wire: Wire,
    names: Names,
    /// The first call that was not offered yet.
    next: usize,
    /// What follows later.
    later: BinaryHeap<Reverse<(u64, u32, Step)>>,
    /// By call: whether it is known to be admitted.
    known: Vec<bool>,
    /// When the run ends. Calls that are live then are released at once, or left.
    end: u64,
    release_at_end: bool,
    recorder: Recorder,
    checks: Checks,
}

/// What is asked later about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Again,
    Confirm,
    Release,
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    call: u32,
    question: Question,
    intended: u64,
}

impl<'p> PlannedCalls<'p> {
    /// The calls of `plan`, until `end`.
    #[must_use]
    pub fn new(plan: &'p Plan, wire: Wire, names: Names, end: u64, release_at_end: bool, checks: Checks) -> Self {
        Self {
            plan,
            wire,
            names,
            next: 0,
            later: BinaryHeap::new(),
            known: vec![false; plan.calls.len()],
            end,
            release_at_end,
            recorder: Recorder::new(0),
            checks,
        }
    }

    /// What was measured and found.
    #[must_use]
    pub fn finish(self) -> (Recorded, Verdict) {
        (self.recorder.finish(self.end), self.checks.verdict())
    }

    fn call(&self, call: u32) -> Option<Call> {
        self.plan.calls.get(num::slot(call)).copied()
    }

    /// The call is live, as the limiter says for the first time: its end comes.
    fn live(&mut self, number: u32, now: u64) {
        let (Some(call), Some(known)) = (self.call(number), self.known.get_mut(num::slot(number))) else { return };
        if std::mem::replace(known, true) {
            return;
        }
        self.recorder.live += 1;
        if call.ring < call.hold {
            self.later.push(Reverse((now.saturating_add(call.ring), number, Step::Confirm)));
        }
        if call.release_lost {
            self.recorder.totals.releases_lost += 1;
        } else {
            self.later.push(Reverse((now.saturating_add(call.hold), number, Step::Release)));
        }
    }

    fn decided(&mut self, mark: Mark, sent: u64, now: u64, reply: &Reply<'_>) {
        let trunk = self.call(mark.call).map_or(0, |call| call.trunk);
        match (reply.number != 0, reply.text) {
            (true, b"duplicate") => {
                self.recorder.totals.duplicates += 1;
                self.live(mark.call, now);
            }
            (true, _) => {
                self.recorder.admitted();
                self.checks.admitted(mark.call, trunk, sent, now);
                self.live(mark.call, now);
            }
            // A refusal that is repeated is one refusal.
            (false, cause) if mark.question == Question::Admit => self.recorder.refused(cause),
            (false, _) => {}
        }
    }
}

impl Source for PlannedCalls<'_> {
    type Mark = Mark;

    fn eager(&self) -> bool {
        false
    }

    fn due(&mut self, now: u64) -> Due {
        let planned = self.plan.calls.get(self.next).map(|call| call.at);
        if now >= self.end {
            // Only releases are left, and they come at once.
            while let Some(Reverse((_, _, step))) = self.later.peek()
                && (*step != Step::Release || !self.release_at_end)
            {
                self.later.pop();
            }
        }
        let later = self.later.peek().map(|Reverse((at, _, _))| self.end.min(*at));
        match (planned, later) {
            (Some(planned), Some(later)) => Due::At(planned.min(later)),
            (Some(at), None) | (None, Some(at)) => Due::At(at),
            // The whole time is watched, also where nothing is left to ask.
            (None, None) if now < self.end => Due::At(self.end),
            (None, None) => Due::Idle,
        }
    }

    fn ask(&mut self, _: usize, now: u64, out: &mut Vec<u8>) -> Mark {
        let planned = self.plan.calls.get(self.next).copied();
        let later = self.later.peek().map(|Reverse(later)| *later);
        let mark = match (planned, later) {
            (Some(call), later) if later.is_none_or(|(at, _, _)| call.at <= at) => {
                let number = num::call(self.next);
                self.next += 1;
                if call.retransmitted {
                    let at = call.at.saturating_add(self.plan.retransmit_after);
                    self.later.push(Reverse((at, number, Step::Again)));
                }
                Mark { call: number, question: Question::Admit, intended: call.at }
            }
            (_, Some((at, call, step))) => {
                self.later.pop();
                let question = match step {
                    Step::Again => Question::Again,
                    Step::Confirm => Question::Confirm,
                    Step::Release => Question::Release,
                };
                Mark { call, question, intended: at.min(now) }
            }
            // Never asked while nothing is due; a harmless question if it were.
            (_, None) => Mark { call: u32::MAX, question: Question::Confirm, intended: now },
        };
        let id = self.names.of(mark.call);
        match mark.question {
            Question::Admit | Question::Again => {
                let trunk = self.call(mark.call).and_then(|call| self.plan.trunk(&call));
                self.wire.admit(out, &id, trunk);
            }
            Question::Confirm | Question::Command => self.wire.confirm(out, &id),
            Question::Release => {
                self.checks.release_sent(mark.call);
                self.recorder.live = self.recorder.live.saturating_sub(1);
                self.wire.release(out, &id);
            }
        }
        self.recorder.asked(mark.question, now);
        mark
    }

    fn answered(&mut self, mark: Mark, sent: u64, now: u64, reply: &Reply<'_>) {
        // What is released because the run is over comes all at once, and says nothing about the limiter.
        if mark.question != Question::Release || mark.intended < self.end {
            self.recorder.answered(mark.question, Times { intended: mark.intended, sent, answered: now });
        }
        let admission = matches!(mark.question, Question::Admit | Question::Again);
        match reply.kind {
            Kind::Decision if admission => self.decided(mark, sent, now, reply),
            Kind::Number if mark.question == Question::Confirm => {
                let known = reply.number != 0;
                self.recorder.totals.confirmed += u64::from(known);
                self.recorder.totals.unknown += u64::from(!known);
            }
            Kind::Number if mark.question == Question::Release => {
                let known = reply.number != 0;
                self.recorder.totals.released += u64::from(known);
                self.recorder.totals.unknown += u64::from(!known);
            }
            Kind::Error => self.recorder.error(&String::from_utf8_lossy(reply.text)),
            Kind::Decision | Kind::Number | Kind::Text => {
                self.recorder.error("an answer of another kind than asked for")
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
    use crate::scenario::Check;
    use crate::wire::resp;

    const MS: u64 = 1_000_000;

    fn plan(retransmitted: bool, release_lost: bool) -> Plan {
        let call = Call { at: 10 * MS, hold: 50 * MS, ring: 20 * MS, trunk: 0, retransmitted, release_lost };
        Plan { calls: vec![call], trunks: Vec::new(), retransmit_after: 5 * MS }
    }

    fn source(plan: &Plan) -> PlannedCalls<'_> {
        let checks = Checks::new(&Check { limit: Some(1), ..Check::default() }, &[]);
        PlannedCalls::new(plan, Wire::Resp, Names::new(1), 1000 * MS, true, checks)
    }

    /// Asks what is due at its time, and answers a moment later. What was asked, and when.
    fn played(
        source: &mut PlannedCalls<'_>,
        answer: impl Fn(&str) -> (Kind, i64, &'static [u8]),
    ) -> Vec<(u64, String)> {
        let mut story = Vec::new();
        let mut now = 0;
        while let Due::At(at) = source.due(now) {
            if at > now {
                now = at;
                continue;
            }
            let mut out = Vec::new();
            let mark = source.ask(0, now, &mut out);
            let verb = String::from_utf8_lossy(&out).lines().nth(2).unwrap_or_default().to_owned();
            let (kind, number, text) = answer(&verb);
            source.answered(mark, now, now, &Reply { kind, number, text });
            story.push((now / MS, verb));
        }
        story
    }

    fn yes(verb: &str) -> (Kind, i64, &'static [u8]) {
        if verb == "ADMIT" { (Kind::Decision, 1, b"ok") } else { (Kind::Number, 1, b"") }
    }

    fn told(story: &[(u64, String)]) -> Vec<(u64, &str)> {
        story.iter().map(|(at, verb)| (*at, verb.as_str())).collect()
    }

    #[test]
    fn a_call_is_admitted_confirmed_and_released_at_its_times() {
        let plan = plan(false, false);
        let mut source = source(&plan);
        let story = played(&mut source, yes);
        assert_eq!(told(&story), [(10, "ADMIT"), (30, "CONFIRM"), (60, "RELEASE")]);
        let (recorded, verdict) = source.finish();
        let totals = recorded.totals;
        assert_eq!(
            (totals.offered, totals.admitted, totals.confirmed, totals.released, totals.unknown),
            (1, 1, 1, 1, 0)
        );
        assert!(verdict.clean());
    }

    #[test]
    fn a_lost_release_is_never_sent() {
        let plan = plan(false, true);
        let mut source = source(&plan);
        assert_eq!(told(&played(&mut source, yes)), [(10, "ADMIT"), (30, "CONFIRM")]);
        assert_eq!(source.finish().0.totals.releases_lost, 1);
    }

    #[test]
    fn a_second_admission_of_a_live_id_is_found() {
        let plan = plan(true, false);
        let mut source = source(&plan);
        assert_eq!(told(&played(&mut source, yes))[..2], [(10, "ADMIT"), (15, "ADMIT")]);
        let (_, verdict) = source.finish();
        assert_eq!((verdict.ids.twice, verdict.windows[0].violations), (1, 1));
    }

    #[test]
    fn a_refused_call_is_neither_confirmed_nor_released() {
        let plan = plan(true, false);
        let mut source = source(&plan);
        let story = played(&mut source, |_| (Kind::Decision, 0, b"cps"));
        assert_eq!(told(&story), [(10, "ADMIT"), (15, "ADMIT")]);
        let recorded = source.finish().0;
        assert_eq!((recorded.totals.refused, recorded.refused_by_cause["cps"]), (1, 1));
    }

    #[test]
    fn calls_that_are_live_at_the_end_are_released_then() {
        let mut plan = plan(false, false);
        plan.calls[0].hold = 9000 * MS;
        plan.calls[0].ring = u64::MAX;
        let mut source = source(&plan);
        assert_eq!(told(&played(&mut source, yes)), [(10, "ADMIT"), (1000, "RELEASE")]);
    }

    #[test]
    fn questions_are_commands() {
        let (mut asked, mut expected) = (Vec::new(), Vec::new());
        Wire::Resp.confirm(&mut asked, b"x");
        resp::command(&mut expected, &[b"CONFIRM", b"x"]);
        assert_eq!(asked, expected);
    }
}
