//! One run of a scenario: draw the plan, drive it, check it, report it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::call_id::Names;
use crate::checks::{Checks, Verdict};
use crate::clock::{Clock, unix_ms};
use crate::drive::{self, DriveError, How, Pace, PlannedCalls, Progress, Steady, Work};
use crate::num;
use crate::plan::{Plan, PlanError};
use crate::record::Recorded;
use crate::report::{FORMAT, Report, ScenarioFacts};
use crate::scenario::{Arrivals, Scenario, ScenarioError};
use crate::span::SECOND;
use crate::status::{Sample, Sampler};
use crate::target::Target;
use crate::trace;

/// A scenario and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The file's stem.
    pub name: String,
    /// The file's text.
    pub text: String,
    /// What it says.
    pub scenario: Scenario,
    /// The file.
    pub file: PathBuf,
}

/// Why a run did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file can't be read.
    #[error("{file}: {source}")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The scenario can't be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The trace can't be used.
    #[error("{file}: {source}")]
    Trace {
        /// Which.
        file: String,
        /// Why.
        source: trace::TraceError,
    },
    /// The target can't be used.
    #[error("target: {0}")]
    Target(String),
    /// Nothing can be drawn.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nothing can be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// How long answers are waited for after the last question.
const PATIENCE: u64 = 5 * SECOND;

impl Loaded {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// It can't be read, or is no scenario.
    pub fn read(file: &Path) -> Result<Self, RunError> {
        let text = read(file)?;
        let scenario = Scenario::parse(&text, file)?;
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Self { name, text, scenario, file: file.to_owned() })
    }

    /// Draws its plan.
    ///
    /// # Errors
    /// Its trace can't be read, or it would draw too many calls.
    pub fn plan(&self) -> Result<Plan, RunError> {
        let recorded = match &self.scenario.arrivals {
            Arrivals::Trace { file, .. } => {
                let path = self.file.parent().unwrap_or(Path::new(".")).join(file);
                let shown = path.display().to_string();
                trace::parse(&read(&path)?).map_err(|source| RunError::Trace { file: shown, source })?
            }
            Arrivals::Poisson { .. }
            | Arrivals::Constant { .. }
            | Arrivals::Bursts { .. }
            | Arrivals::Steps { .. }
            | Arrivals::Ramp { .. }
            | Arrivals::Closed { .. } => Vec::new(),
        };
        Ok(Plan::draw(&self.scenario, &recorded)?)
    }

    /// Runs it.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(&self, plan: &Plan, progress: &Progress) -> Result<Report, RunError> {
        let scenario = &self.scenario;
        let target = scenario.target().map_err(RunError::Target)?;
        let how =
            How { connections: scenario.target.connections, pipeline: scenario.target.pipeline, patience: PATIENCE };
        let started_unix_ms = unix_ms();
        let names = Names::new(started_unix_ms.rotate_left(20) ^ scenario.seed);
        let checks = Checks::new(&scenario.check, &plan.trunks);
        let clock = Clock::start();
        let sampler = Sampler::start(&target, scenario.target.status_every, clock);
        let driven = match scenario.arrivals {
            Arrivals::Closed { live } => {
                let (work, pace) = (Work::Calls { live: num::slot(live) }, Pace::Closed { until: scenario.seconds.0 });
                let mut source = Steady::new(work, pace, target.wire, names, 0, checks);
                drive::run(&mut source, &target, &how, &clock, progress).map(|()| source.finish())
            }
            Arrivals::Poisson { .. }
            | Arrivals::Constant { .. }
            | Arrivals::Bursts { .. }
            | Arrivals::Steps { .. }
            | Arrivals::Ramp { .. }
            | Arrivals::Trace { .. } => {
                let (end, release) = (scenario.seconds.0, scenario.calls.release_at_end);
                let mut source = PlannedCalls::new(plan, target.wire, names, end, release, checks);
                drive::run(&mut source, &target, &how, &clock, progress).map(|()| source.finish())
            }
        };
        let status = sampler.finish();
        let (recorded, verdict) = driven?;
        Ok(self.report(plan, &target, started_unix_ms, (recorded, verdict, status)))
    }

    fn report(
        &self,
        plan: &Plan,
        target: &Target,
        started_unix_ms: u64,
        found: (Recorded, Verdict, Vec<Sample>),
    ) -> Report {
        let scenario = &self.scenario;
        let (recorded, verdict, status) = found;
        Report {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms,
            scenario: ScenarioFacts {
                name: self.name.clone(),
                about: scenario.about.clone(),
                seed: scenario.seed,
                seconds: scenario.seconds.seconds(),
                calls: num::wide(plan.calls.len()),
                digest: format!("{:016x}", plan.digest()),
                closed: matches!(scenario.arrivals, Arrivals::Closed { .. }),
                text: self.text.clone(),
            },
            target: target.to_string(),
            connections: num::wide(scenario.target.connections),
            pipeline: num::wide(scenario.target.pipeline.min(target.wire.pipeline_max())),
            recorded,
            verdict,
            status,
        }
    }
}

fn read(file: &Path) -> Result<String, RunError> {
    fs::read_to_string(file).map_err(|source| RunError::File { file: file.display().to_string(), source })
}
