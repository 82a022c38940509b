//! What a run found: as a value that is read back, as text, and as a page with plots. PURE.

mod html;
mod plot;
mod text;

use serde::{Deserialize, Serialize};

pub use html::page;
pub use text::summary;

use crate::checks::Verdict;
use crate::record::Recorded;
use crate::status::Sample;

/// The layout of the JSON document: raised when a field changes its meaning or goes.
pub const FORMAT: u32 = 1;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The layout: [`FORMAT`].
    pub format: u32,
    /// Of this program.
    pub version: String,
    /// When the run began.
    pub started_unix_ms: u64,
    /// What was offered.
    pub scenario: ScenarioFacts,
    /// Who was asked.
    pub target: String,
    /// Over how many connections.
    pub connections: u64,
    /// Questions that a connection carried at once, at most.
    pub pipeline: u64,
    /// What was measured.
    #[serde(flatten)]
    pub recorded: Recorded,
    /// What the checkers found.
    pub verdict: Verdict,
    /// The limiter's own figures.
    pub status: Vec<Sample>,
}

/// What was offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// What it was drawn from.
    pub seed: u64,
    /// How long calls arrived.
    pub seconds: f64,
    /// Calls drawn.
    pub calls: u64,
    /// Two runs with the same digest offered the same calls.
    pub digest: String,
    /// A closed loop: a maximum was measured.
    pub closed: bool,
    /// The scenario file.
    pub text: String,
}

impl Report {
    /// Answers per second.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        crate::num::float(self.recorded.totals.answered) / self.scenario.seconds.max(1e-9)
    }

    /// Whether the run shows what it set out to: no violation, nothing lost, nothing misunderstood.
    #[must_use]
    pub fn sound(&self) -> bool {
        let totals = &self.recorded.totals;
        self.verdict.clean() && totals.errors == 0 && totals.unanswered == 0 && totals.connections_lost == 0
    }
}

/// A count with thousands set apart.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time in microseconds, with three figures and its unit.
#[must_use]
pub fn micros(time: f64) -> String {
    crate::span::Span(crate::num::whole(time * 1e3)).to_string()
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::checker::{IdVerdict, WindowVerdict};
    use crate::record::{Question, Recorder, Times};
    use crate::span::SECOND;
    use crate::status::LimitUse;

    /// A small run whose latencies are `factor` times a millisecond.
    pub(crate) fn report(name: &str, factor: u64) -> Report {
        let mut recorder = Recorder::new(0);
        for call in 0..300 {
            let at = call * SECOND / 100;
            recorder.asked(Question::Admit, at);
            let times = Times { intended: at, sent: at + 20_000, answered: at + factor * (1_000_000 + call * 1_000) };
            recorder.answered(Question::Admit, times);
            if call % 3 == 0 { recorder.refused(b"cps") } else { recorder.admitted() }
        }
        let window = WindowVerdict { scope: "calls".to_owned(), limit: 100, largest: 67, violations: 0, first: None };
        let limits = vec![LimitUse { name: "cps".to_owned(), limit: Some(100), used: 66 }];
        Report {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            started_unix_ms: 1_790_000_000_000,
            scenario: ScenarioFacts {
                name: name.to_owned(),
                about: "a test <of> pages".to_owned(),
                seed: 1,
                seconds: 3.0,
                calls: 300,
                digest: "00000000000000ff".to_owned(),
                closed: false,
                text: "seconds = 3\n".to_owned(),
            },
            target: "resp://127.0.0.1:7500".to_owned(),
            connections: 10,
            pipeline: 16,
            recorded: recorder.finish(3 * SECOND),
            verdict: Verdict { windows: vec![window], ids: IdVerdict { admitted: 200, twice: 0, first: None } },
            status: [0.5, 1.5, 2.5].map(|at_s| Sample { at_s, limits: limits.clone() }).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let report = samples::report("a", 1);
        let text = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }
}
