//! Scenario files: what is offered, to whom, and what must hold. Text in, a scenario or an error that names the key out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::arrivals::{Spacing, Step};
use crate::holds::Hold;
use crate::span::Span;
use crate::target::Target;

/// One scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// How long calls arrive.
    pub seconds: Span,
    /// What everything random is drawn from.
    #[serde(default = "one")]
    pub seed: u64,
    /// Who is asked.
    #[serde(default)]
    pub target: TargetTable,
    /// When calls arrive.
    pub arrivals: Arrivals,
    /// What becomes of them.
    #[serde(default)]
    pub calls: Calls,
    /// What must hold.
    #[serde(default)]
    pub check: Check,
}

fn one() -> u64 {
    1
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetTable {
    /// Protocol and address.
    pub address: String,
    /// Connections.
    pub connections: usize,
    /// Questions that a connection carries at once, at most. HTTP: one.
    pub pipeline: usize,
    /// How often the limiter is asked for its own figures; 0 for never.
    pub status_every: Span,
}

impl Default for TargetTable {
    fn default() -> Self {
        let address = "resp://127.0.0.1:7500".to_owned();
        Self { address, connections: 10, pipeline: 16, status_every: Span(crate::span::SECOND / 2) }
    }
}

/// When calls arrive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "shape", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// At random, at one rate.
    Poisson {
        /// Calls per second.
        rate: f64,
    },
    /// Evenly, at one rate.
    Constant {
        /// Calls per second.
        rate: f64,
    },
    /// Many at once, again and again, over a background of random ones.
    Bursts {
        /// Calls of a burst.
        burst: u32,
        /// From one burst to the next.
        every: Span,
        /// Calls per second between them.
        #[serde(default)]
        rate: f64,
    },
    /// One rate after another, from the beginning again until the time is over.
    Steps {
        /// The rates.
        steps: Vec<Step>,
        /// How far apart the calls are.
        #[serde(default)]
        spacing: Spacing,
    },
    /// From one rate to another, evenly.
    Ramp {
        /// Calls per second at the beginning.
        from: f64,
        /// Calls per second at the end.
        to: f64,
        /// How far apart the calls are.
        #[serde(default)]
        spacing: Spacing,
    },
    /// As they were recorded.
    Trace {
        /// The trace; a relative path lies beside the scenario.
        file: PathBuf,
        /// Twice as fast: 2.
        #[serde(default = "as_recorded")]
        speed: f64,
    },
    /// No arrivals: each connection asks again as soon as it is answered. It measures a maximum, not how callers fare.
    Closed {
        /// Calls that are live, once so many have been admitted: from then on each admission has its release.
        live: u32,
    },
}

fn as_recorded() -> f64 {
    1.0
}

/// What becomes of calls.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calls {
    /// From admission to release.
    pub hold: Hold,
    /// From admission to CONFIRM; left out, calls are never confirmed.
    pub ring: Option<Hold>,
    /// Of a hundred calls, how many are asked about again, as a proxy does that had no answer in time.
    pub retransmit_percent: f64,
    /// How long after the first question.
    pub retransmit_after: Span,
    /// Of a hundred calls, how many are never released, as when a BYE is lost.
    pub lost_release_percent: f64,
    /// Trunks by name with their share of the calls; none: no trunk is named.
    pub trunks: BTreeMap<String, f64>,
    /// At the end, release what is still live (but for lost releases).
    pub release_at_end: bool,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            hold: Hold::default(),
            ring: None,
            retransmit_percent: 0.0,
            retransmit_after: Span(500 * crate::span::MILLISECOND),
            lost_release_percent: 0.0,
            trunks: BTreeMap::new(),
            release_at_end: true,
        }
    }
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Admissions in any second, at most. Left out, it is what the limiter says its limit is, if it does.
    pub limit: Option<u64>,
    /// The same by trunk.
    pub trunks: BTreeMap<String, u64>,
}

/// Why a scenario can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {problem}")]
pub struct ScenarioError {
    /// The file.
    pub file: String,
    /// The key, with the tables that it lies in.
    pub key: String,
    /// What was found, and what is accepted.
    pub problem: String,
}

const RATE_MAX: f64 = 10_000_000.0;

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first key that is unknown, missing, of the wrong type, or out of its range.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ScenarioError> {
        let wrong = |key: String, problem: String| ScenarioError { file: file.display().to_string(), key, problem };
        let deserializer = toml::Deserializer::parse(text)
            .map_err(|error| wrong("not TOML".to_owned(), error.to_string().trim().replace('\n', "; ")))?;
        let scenario: Self = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = match error.path().to_string() {
                path if path == "." => "at the top".to_owned(),
                path => path,
            };
            wrong(key, error.inner().message().to_owned())
        })?;
        scenario.judge(file)?;
        Ok(scenario)
    }

    /// The target.
    ///
    /// # Errors
    /// What was found and what is accepted.
    pub fn target(&self) -> Result<Target, String> {
        self.target.address.parse()
    }

    /// Whether every value lies in its range; `file` is named if not.
    ///
    /// # Errors
    /// The first key that does not.
    pub fn judge(&self, file: &Path) -> Result<(), ScenarioError> {
        let wrong = |(key, problem): (&str, String)| ScenarioError {
            file: file.display().to_string(),
            key: key.to_owned(),
            problem,
        };
        self.ranges().map_err(wrong)
    }

    fn ranges(&self) -> Result<(), (&'static str, String)> {
        let within = |key: &'static str, value: f64, most: f64| {
            let accepted = format!("found {value}, expected a number from 0 to {most}");
            if (0.0..=most).contains(&value) { Ok(()) } else { Err((key, accepted)) }
        };
        match &self.arrivals {
            Arrivals::Poisson { rate } | Arrivals::Constant { rate } | Arrivals::Bursts { rate, .. } => {
                within("arrivals.rate", *rate, RATE_MAX)?;
            }
            Arrivals::Steps { steps, .. } => {
                for step in steps {
                    within("arrivals.steps.rate", step.rate, RATE_MAX)?;
                }
                if steps.iter().all(|step| step.seconds.0 == 0) {
                    return Err(("arrivals.steps", "found no step that lasts, expected at least one".to_owned()));
                }
            }
            Arrivals::Ramp { from, to, .. } => {
                within("arrivals.from", *from, RATE_MAX)?;
                within("arrivals.to", *to, RATE_MAX)?;
            }
            Arrivals::Trace { speed, .. } => {
                within("arrivals.speed", *speed, 1e6)?;
                if *speed <= 0.0 {
                    return Err(("arrivals.speed", "found 0, expected more".to_owned()));
                }
            }
            Arrivals::Closed { .. } => {}
        }
        if let Arrivals::Bursts { every: Span(0), .. } = self.arrivals {
            return Err(("arrivals.every", "found 0, expected a time between bursts".to_owned()));
        }
        within("calls.retransmit_percent", self.calls.retransmit_percent, 100.0)?;
        within("calls.lost_release_percent", self.calls.lost_release_percent, 100.0)?;
        for hold in [Some(self.calls.hold), self.calls.ring].into_iter().flatten() {
            if let Hold::LogNormal { sigma, .. } = hold {
                within("calls.hold.sigma", sigma, 10.0)?;
            }
        }
        for share in self.calls.trunks.values() {
            within("calls.trunks", *share, 1e9)?;
        }
        let counted = |key: &'static str, count: usize, most: usize| match count {
            0 => Err((key, format!("found 0, expected 1 to {most}"))),
            count if count > most => Err((key, format!("found {count}, expected 1 to {most}"))),
            _ => Ok(()),
        };
        counted("target.connections", self.target.connections, 20_000)?;
        counted("target.pipeline", self.target.pipeline, 4096)?;
        self.target().map(|_| ()).map_err(|problem| ("target.address", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
about = "half of what is licensed"
seconds = "20s"
[target]
address = "resp://127.0.0.1:7500"
[arrivals]
shape = "poisson"
rate = 50
[calls]
hold = { dist = "log-normal", median = "2s", sigma = 1.2 }
trunks = { a = 3, b = 1 }
[check]
limit = 100
trunks.a = 20
"#;

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(text, Path::new("x.toml"))
    }

    #[test]
    fn a_scenario_says_what_it_must_and_has_defaults_for_the_rest() {
        let scenario = parse(GOOD).unwrap();
        assert_eq!(scenario.arrivals, Arrivals::Poisson { rate: 50.0 });
        assert_eq!((scenario.seed, scenario.target.connections, scenario.check.limit), (1, 10, Some(100)));
        assert_eq!(scenario.check.trunks["a"], 20);
    }

    #[test]
    fn every_error_names_file_key_found_and_accepted() {
        for (from, to, key, found, accepted) in [
            ("[calls]", "[cals]", "cals", "`cals`", "`calls`"),
            ("rate = 50", "rat = 50", "arrivals", "`rat`", "`rate`"),
            ("\"poisson\"", "\"fish\"", "arrivals.shape", "`fish`", "`poisson`"),
            ("rate = 50", "rate = -5", "arrivals.rate", "-5", "from 0 to"),
            ("limit = 100", "limit = \"many\"", "check.limit", "\"many\"", "u64"),
            ("\"20s\"", "\"20 days\"", "seconds", "`20 days`", "300ms"),
            ("resp://127", "smtp://127", "target.address", "`smtp://127.0.0.1:7500`", "resp+unix"),
            ("[calls]", "[calls]\nretransmit_percent = 101", "calls.retransmit_percent", "101", "to 100"),
            ("[arrivals]", "connections = 0\n[arrivals]", "target.connections", "0", "1 to"),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.file, "x.toml");
            assert_eq!(error.key, key, "{error}");
            assert!(error.problem.contains(found) && error.problem.contains(accepted), "{error}");
        }
        assert!(parse("seconds = ").is_err_and(|error| error.key == "not TOML"));
    }

    #[test]
    fn the_shipped_scenarios_are_good() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut seen = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
                assert!(!scenario.about.is_empty(), "{} says what it is for", path.display());
                seen += 1;
            }
        }
        assert!(seen >= 8, "{seen}");
    }
}
