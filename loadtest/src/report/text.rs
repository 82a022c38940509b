//! The summary that a person reads.

use std::fmt::Write;

use super::{Report, grouped, micros};
use crate::num;
use crate::record::Latency;

/// The whole run on a screen.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a text can't fail.
    let _never = write_all(report, &mut out);
    out
}

fn write_all(report: &Report, out: &mut String) -> std::fmt::Result {
    let (scenario, totals) = (&report.scenario, &report.recorded.totals);
    writeln!(out, "{}: {}", scenario.name, scenario.about)?;
    writeln!(
        out,
        "  {} over {} connections, up to {} questions each; {:.0} s, seed {}",
        report.target, report.connections, report.pipeline, scenario.seconds, scenario.seed
    )?;
    writeln!(out)?;
    let part = |count: u64| 100.0 * num::float(count) / num::float(totals.offered.max(1));
    writeln!(out, "  offered   {:>12} calls", grouped(totals.offered))?;
    writeln!(out, "  admitted  {:>12}  {:.1} %", grouped(totals.admitted), part(totals.admitted))?;
    writeln!(out, "  refused   {:>12}  {:.1} %{}", grouped(totals.refused), part(totals.refused), causes(report))?;
    for (name, count) in [
        ("asked twice", totals.retransmitted),
        ("  known", totals.duplicates),
        ("confirmed", totals.confirmed),
        ("released", totals.released),
        ("unreleased", totals.releases_lost),
        ("unknown", totals.unknown),
    ] {
        if count > 0 {
            writeln!(out, "  {name:<11}{:>11}", grouped(count))?;
        }
    }
    writeln!(
        out,
        "  answers   {:>12}  {} per second",
        grouped(totals.answered),
        grouped(num::whole(report.answers_per_second()))
    )?;
    for (text, count) in &report.recorded.errors_by_text {
        writeln!(out, "  trouble   {:>12}  {text}", grouped(*count))?;
    }
    if totals.unanswered > 0 {
        writeln!(out, "  unanswered{:>12}  questions", grouped(totals.unanswered))?;
    }
    latencies(report, out)?;
    verdict(report, out)
}

fn causes(report: &Report) -> String {
    let mut causes: Vec<_> = report.recorded.refused_by_cause.iter().collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named: Vec<String> = causes.iter().map(|(cause, count)| format!("{cause} {}", grouped(**count))).collect();
    if named.is_empty() { String::new() } else { format!("  ({})", named.join(", ")) }
}

fn latencies(report: &Report, out: &mut String) -> std::fmt::Result {
    let latency = &report.recorded.latency;
    writeln!(out)?;
    writeln!(
        out,
        "  {:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "latency", "mean", "p50", "p90", "p99", "p99.9", "max"
    )?;
    let from = if report.scenario.closed { "sending" } else { "intended" };
    for (name, found) in [
        (format!("admit, from {from}"), &latency.admit),
        ("release".to_owned(), &latency.release),
        ("admit, from sending".to_owned(), &latency.service),
        ("sent late by".to_owned(), &latency.lag),
    ] {
        let told_already = report.scenario.closed
            && (name.ends_with("from sending") && found == &latency.service || name == "sent late by");
        if found.count > 0 && !told_already {
            writeln!(out, "  {name:<22}{}", row(found))?;
        }
    }
    Ok(())
}

fn row(latency: &Latency) -> String {
    let at = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percentile| latency.at(percentile).map_or_else(String::new, micros));
    at.iter().fold(format!("{:>10}", micros(latency.mean_us)), |row, figure| format!("{row}{figure:>10}"))
}

fn verdict(report: &Report, out: &mut String) -> std::fmt::Result {
    let verdict = &report.verdict;
    writeln!(out)?;
    if verdict.windows.is_empty() {
        writeln!(out, "  windows   not checked: the scenario names no limit ([check] limit, or --limit)")?;
    }
    for window in &verdict.windows {
        let (limit, largest) = (grouped(window.limit), grouped(window.largest));
        match window.first {
            None => writeln!(
                out,
                "  ok        {}: at most {largest} certainly in one second; the limit is {limit}",
                window.scope
            )?,
            Some(first) => writeln!(
                out,
                "  VIOLATED  {}: {largest} certainly admitted in one second, the limit is {limit}; {} times, first after {:.3} s",
                window.scope,
                grouped(window.violations),
                num::float(first.at) / 1e9
            )?,
        }
    }
    match verdict.ids.twice {
        0 => writeln!(out, "  ok        no id admitted twice, of {}", grouped(verdict.ids.admitted)),
        twice => writeln!(out, "  VIOLATED  {} ids admitted again while they were live", grouped(twice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Excess;
    use crate::report::samples;

    #[test]
    fn the_summary_says_what_was_offered_answered_measured_and_checked() {
        let text = summary(&samples::report("steady", 1));
        for part in [
            "steady: a test",
            "offered            300 calls",
            "admitted           200  66.7 %",
            "(cps 100)",
            "admit, from intended",
            "sent late by",
            "ok        calls: at most 67",
            "no id admitted twice, of 200",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }

    #[test]
    fn a_violation_is_shouted() {
        let mut report = samples::report("steady", 1);
        report.verdict.windows[0].first = Some(Excess { at: 1_500_000_000, admitted: 101 });
        report.verdict.windows[0].violations = 3;
        let text = summary(&report);
        assert!(text.contains("VIOLATED  calls") && text.contains("3 times, first after 1.500 s"), "{text}");
    }
}
