//! Two results beside each other: A against B, as ratios. PURE.
//!
//! Where both have something second by second, seconds are paired: the median of the ratios of pairs tells more than the ratio of
//! two medians, since what disturbs a second of one run seldom disturbs the same of another; its interval says how sure it is.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;

use crate::num;
use crate::record::{Latency, Second};
use crate::report::{Report, micros};
use crate::stats;

/// One thing compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What.
    pub what: String,
    /// Of the first run.
    pub a: Option<f64>,
    /// Of the second run.
    pub b: Option<f64>,
    /// In microseconds; otherwise a count or a rate.
    pub is_time: bool,
    /// A to B; for pairs, the median.
    pub ratio: Option<f64>,
    /// Where that median would lie in 95 of a hundred repetitions; only for pairs.
    pub interval: Option<(f64, f64)>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run, in few words.
    pub a: String,
    /// The second run.
    pub b: String,
    /// Both offered the very same calls.
    pub same_work: bool,
    /// Rates, latencies, then pairs of seconds.
    pub rows: Vec<Row>,
}

type LatencyOf = fn(&Report) -> &Latency;
type ValueOf = fn(&Second) -> f64;

/// Compares.
#[must_use]
pub fn compare(a: &Report, b: &Report) -> Comparison {
    let total = |what: &str, of: fn(&Report) -> f64| whole(what, Some(of(a)), Some(of(b)), false);
    let mut rows = vec![
        total("answers per second", Report::answers_per_second),
        total("calls admitted", |report| num::float(report.recorded.totals.admitted)),
        total("calls refused", |report| num::float(report.recorded.totals.refused)),
    ];
    let latencies: [(&str, LatencyOf); 3] = [
        ("admit", |report| &report.recorded.latency.admit),
        ("release", |report| &report.recorded.latency.release),
        ("all", |report| &report.recorded.latency.all),
    ];
    for (name, of) in latencies {
        for percentile in [50.0, 99.0, 99.9] {
            let (ours, theirs) = (of(a).at(percentile), of(b).at(percentile));
            if ours.is_some() || theirs.is_some() {
                rows.push(whole(&format!("{name} p{percentile}"), ours, theirs, true));
            }
        }
    }
    let seconds: [(&str, ValueOf, bool); 3] = [
        ("answers, by seconds", |second| num::float(second.answered), false),
        ("p50, by seconds", |second| second.p50_us, true),
        ("p99, by seconds", |second| second.p99_us, true),
    ];
    rows.extend(seconds.into_iter().map(|(what, of, is_time)| paired(what, of, is_time, a, b)));
    let closed = a.scenario.closed || b.scenario.closed;
    let same_work = a.scenario.digest == b.scenario.digest && (!closed || a.scenario.text == b.scenario.text);
    Comparison { a: named(a), b: named(b), same_work, rows }
}

fn named(report: &Report) -> String {
    format!("{} at {}, seed {}", report.scenario.name, report.target, report.scenario.seed)
}

fn whole(what: &str, a: Option<f64>, b: Option<f64>, is_time: bool) -> Row {
    let ratio = a.zip(b).and_then(|pair| stats::ratios([pair]).first().copied());
    Row { what: what.to_owned(), a, b, is_time, ratio, interval: None }
}

fn paired(what: &str, of: ValueOf, is_time: bool, a: &Report, b: &Report) -> Row {
    let (ours, theirs) = (&a.recorded.seconds, &b.recorded.seconds);
    let pairs: Vec<(f64, f64)> = ours.iter().map(of).zip(theirs.iter().map(of)).collect();
    let side = |pick: fn(&(f64, f64)) -> f64| stats::median(&pairs.iter().map(pick).collect::<Vec<_>>());
    let ratios = stats::ratios(pairs.iter().copied());
    // The dice only resample: the same files give the same interval.
    let interval = stats::interval(&ratios, &mut SmallRng::seed_from_u64(1));
    let (a, b) = (side(|pair| pair.0), side(|pair| pair.1));
    Row { what: what.to_owned(), a, b, is_time, ratio: stats::median(&ratios), interval }
}

impl Comparison {
    /// The table that a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!("A  {}", self.a), format!("B  {}", self.b)];
        if !self.same_work {
            lines.push("NOTE  the runs did not offer the same calls: ratios compare the work, too".to_owned());
        }
        lines.push(String::new());
        lines.push(format!("  {:<22}{:>12}{:>12}{:>9}   {}", "", "A", "B", "A/B", "95 % of repetitions"));
        for row in &self.rows {
            let shown = |value: Option<f64>| match value {
                None => "-".to_owned(),
                Some(value) if row.is_time => micros(value),
                Some(value) => crate::report::grouped(num::whole(value)),
            };
            let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
            let interval = row.interval.map_or_else(String::new, |(low, high)| format!("   {low:.3} to {high:.3}"));
            lines.push(format!("  {:<22}{:>12}{:>12}{ratio:>9}{interval}", row.what, shown(row.a), shown(row.b)));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn ratios_are_a_to_b_and_pairs_have_an_interval() {
        let comparison = compare(&samples::report("slow", 3), &samples::report("quick", 1));
        let row = |what: &str| comparison.rows.iter().find(|row| row.what == what).unwrap();
        assert!(row("admit p50").ratio.is_some_and(|ratio| (2.9..3.1).contains(&ratio)));
        assert!(row("answers per second").ratio.is_some_and(|ratio| (ratio - 1.0).abs() < 1e-9));
        let pairs = row("p50, by seconds");
        assert!(pairs.interval.is_some_and(|(low, high)| low <= pairs.ratio.unwrap() && pairs.ratio.unwrap() <= high));
        assert!(comparison.same_work && comparison.text().contains("admit p99.9"), "{}", comparison.text());
    }

    #[test]
    fn other_work_is_said_to_be_other_work() {
        let mut other = samples::report("b", 1);
        other.scenario.digest = "0".to_owned();
        let comparison = compare(&samples::report("a", 1), &other);
        assert!(!comparison.same_work && comparison.text().contains("NOTE"));
    }
}
