//! Walks the way to the manager step by step, and says which step failed.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use tokio::net::TcpStream;

use super::failure::failure;
use super::{Answer, Transport, lookup};
use crate::license::agent::{ClientIdentity, TransportFailure, TransportStep};
use crate::units::UnixMillis;

/// How far the manager's clock may be from ours, in milliseconds: what signed messages accept.
const SKEW_MS_MAX: u64 = 3_600_000;

/// How long resolving and connecting may take each.
const HOP: Duration = Duration::from_secs(7);

/// How long the question for health may take.
const ASK: Duration = Duration::from_secs(10);

/// How long a whole probe may take: less than who asks for one waits.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(25);

// Two hops and a question.
const _: () = assert!(2 * HOP.as_secs() + ASK.as_secs() <= PROBE_TIME_MAX.as_secs(), "a probe ends in time");

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It works.
    Passed,
    /// It doesn't.
    Failed,
    /// There is nothing to do there.
    Skipped,
    /// An earlier one failed.
    NotReached,
    /// The way works; this is what to do next.
    Next,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeStep {
    /// Its name, such as `dns`.
    pub step: &'static str,
    /// What became of it.
    pub outcome: StepOutcome,
    /// What was found; for a failure also what to do.
    pub text: String,
}

/// All steps, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// Whom it asked.
    pub manager: Option<String>,
    /// The step that failed; `None`: all is well.
    pub failed: Option<&'static str>,
    /// The steps.
    pub steps: Vec<ProbeStep>,
}

const CLOCK: &str = "clock";

/// The steps in their order, with what each means.
const STEPS: [(&str, &str); 9] = [
    ("configuration", "the configuration names a manager"),
    ("dns", "the name resolves"),
    ("tcp", "a connection opens"),
    ("proxy", "the proxy opens a way"),
    ("tls_issuer", "the certificate's issuer is trusted"),
    ("tls", "the certificate fits and TLS stands"),
    ("http", "something there speaks HTTP"),
    ("status", "it says that it is well"),
    (CLOCK, "both clocks agree"),
];

impl ProbeReport {
    fn new(manager: Option<String>) -> Self {
        Self { manager, failed: None, steps: Vec::with_capacity(STEPS.len() + 1) }
    }

    fn push(&mut self, step: &'static str, outcome: StepOutcome, text: impl Into<String>) {
        if outcome == StepOutcome::Failed {
            self.failed = self.failed.or(Some(step));
        }
        self.steps.push(ProbeStep { step, outcome, text: text.into() });
    }

    /// Everything before the failed step passed, everything behind it was not reached. A failure that is no step of the
    /// way (a timeout, a defect) stands where it happened: at the first step that is not known to work.
    fn fail(mut self, failed: &TransportFailure, proxied: bool) -> Self {
        let name = match failed.step {
            TransportStep::Timeout | TransportStep::Internal => {
                STEPS.get(self.steps.len()).map_or("http", |(name, _)| name)
            }
            TransportStep::Configuration
            | TransportStep::Dns
            | TransportStep::Tcp
            | TransportStep::Proxy
            | TransportStep::TlsIssuer
            | TransportStep::Tls
            | TransportStep::Http
            | TransportStep::Status => failed.step.name(),
        };
        self.pass_until(name, proxied);
        // A step can fail that was taken to work a moment ago.
        self.steps.retain(|step| step.step != name);
        self.push(name, StepOutcome::Failed, failed.text.clone());
        self.failed = Some(name);
        let behind = STEPS.iter().skip_while(|(step, _)| *step != name).skip(1);
        for (step, what) in behind {
            self.steps.retain(|told| told.step != *step);
            self.push(step, StepOutcome::NotReached, format!("not reached: {what}"));
        }
        self
    }

    fn pass_until(&mut self, end: &str, proxied: bool) {
        for (step, what) in STEPS.iter().take_while(|(step, _)| *step != end) {
            if self.steps.iter().any(|told| told.step == *step) {
                continue;
            }
            if *step == "proxy" && !proxied {
                self.push(step, StepOutcome::Skipped, "no proxy is configured");
            } else {
                self.push(step, StepOutcome::Passed, *what);
            }
        }
    }

    /// Adds what the driver knows behind the steps of the way. It is no step of the way: it fails nothing.
    pub fn conclude(&mut self, step: &'static str, done: bool, text: impl Into<String>) {
        let outcome = match (self.failed, done) {
            (_, true) => StepOutcome::Passed,
            (None, false) => StepOutcome::Next,
            (Some(_), false) => StepOutcome::NotReached,
        };
        self.push(step, outcome, text);
    }
}

impl Transport {
    /// Tries each step of the way. Sends nothing but a question for health.
    pub async fn probe(&self, identity: Option<&ClientIdentity>, wall: impl Fn() -> UnixMillis) -> ProbeReport {
        let proxied = self.settings.proxy.is_some();
        let mut report = ProbeReport::new(self.settings.url.as_ref().map(ToString::to_string));
        let (Some(url), Some((host, port))) = (&self.settings.url, self.settings.first_hop()) else {
            let text =
                "license.url is not set; accepted: the address of a license manager, such as https://lm.example.com";
            return report.fail(&failure(TransportStep::Configuration, text), proxied);
        };
        report.push("configuration", StepOutcome::Passed, format!("{url}"));
        let addresses = match tokio::time::timeout(HOP, lookup(&host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                let text = format!("the name {} cannot be resolved: {}", error.name, error.reason);
                return report.fail(&failure(TransportStep::Dns, text), proxied);
            }
            Err(_) => {
                let text = format!("the name {host} was not resolved within {} s", HOP.as_secs());
                return report.fail(&failure(TransportStep::Dns, text), proxied);
            }
        };
        let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        report.push("dns", StepOutcome::Passed, format!("{host} is {}", list.join(", ")));
        match tokio::time::timeout(HOP, TcpStream::connect(addresses.as_slice())).await {
            Ok(Ok(stream)) => {
                let peer = stream.peer_addr().map_or_else(|_| host.clone(), |peer| peer.to_string());
                report.push("tcp", StepOutcome::Passed, format!("connected to {peer}"));
            }
            Ok(Err(error)) => {
                let text = format!("no connection to {host} port {port}: {error}");
                return report.fail(&failure(TransportStep::Tcp, text), proxied);
            }
            Err(_) => {
                let text =
                    format!("no connection to {host} port {port} within {} s: a firewall may drop it", HOP.as_secs());
                return report.fail(&failure(TransportStep::Tcp, text), proxied);
            }
        }
        let within = self.settings.timeout.min(ASK);
        let asked = self.request(Method::GET, url.below("/healthz"), Vec::new(), identity, within).await;
        match asked {
            Err(failed) => report.fail(&failed, proxied),
            Ok(answer) => healthy(report, &answer, wall(), proxied),
        }
    }
}

fn healthy(mut report: ProbeReport, answer: &Answer, ours: UnixMillis, proxied: bool) -> ProbeReport {
    if !(200..300).contains(&answer.status) {
        let text = format!(
            "it answers {} to a question for its health: no license manager, or one that is not well",
            answer.status
        );
        return report.fail(&failure(TransportStep::Status, text), proxied);
    }
    report.pass_until(CLOCK, proxied);
    let Some(theirs) = answer.date else {
        report.push(CLOCK, StepOutcome::Skipped, "the manager doesn't tell its time");
        return report;
    };
    let apart = ours.0.abs_diff(theirs.0);
    if apart > SKEW_MS_MAX {
        let text = format!(
            "this host's clock says {}, the manager's {}: they may differ by an hour; correct the one that is wrong",
            told(ours),
            told(theirs)
        );
        report.push(CLOCK, StepOutcome::Failed, text);
    } else {
        report.push(CLOCK, StepOutcome::Passed, format!("{} s apart", apart / 1000));
    }
    report
}

fn told(at: UnixMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| format!("{} ms since 1970", at.0), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
