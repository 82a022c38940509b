//! What was measured, as a value and as a table. PURE.

use serde::{Deserialize, Serialize};

use super::Peer;
use crate::num;
use crate::record::Recorded;
use crate::report::micros;
use crate::stats::{Spread, median, ratios};

/// Processor time per question, in microseconds. It says more than a rate where others use the cores too.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// The server's.
    pub server_us: f64,
    /// The load's.
    pub load_us: f64,
}

/// One peer's maxima at one pipeline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RateRow {
    /// Its name.
    pub peer: String,
    /// Questions that a connection carried at once.
    pub pipeline: u32,
    /// Answers per second, round by round.
    pub per_second: Vec<f64>,
    /// The 99th percentile of the latency, in microseconds, round by round.
    pub p99_us: Vec<f64>,
    /// What a question cost, round by round.
    pub cost: Vec<Cost>,
    /// Calls that were refused, in all.
    pub refused: u64,
    /// Errors and missing answers, in all.
    pub troubles: u64,
}

impl RateRow {
    pub(super) fn new(peer: &str, pipeline: u32) -> Self {
        Self { peer: peer.to_owned(), pipeline, ..Self::default() }
    }

    pub(super) fn take(&mut self, recorded: &Recorded, seconds: f64, cost: Cost) {
        self.cost.push(cost);
        let totals = &recorded.totals;
        self.per_second.push(num::float(totals.answered) / seconds.max(1e-9));
        self.p99_us.push(recorded.latency.all.at(99.0).unwrap_or(0.0));
        self.refused += totals.refused;
        self.troubles += totals.errors + totals.unanswered + totals.connections_lost;
    }

    /// The median of its rounds.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        median(&self.per_second)
    }
}

/// callgate and a peer at the same rate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LatencyRow {
    /// The peer.
    pub peer: String,
    /// Questions that a connection carried at once, at most.
    pub pipeline: u32,
    /// Questions per second: four fifths of the peer's own maximum.
    pub rate: f64,
    /// Median latency of callgate and of the peer in microseconds, round by round.
    pub p50_us: [Vec<f64>; 2],
    /// The 99th percentile.
    pub p99_us: [Vec<f64>; 2],
}

impl LatencyRow {
    pub(super) fn new(peer: &str, pipeline: u32, rate: f64) -> Self {
        Self { peer: peer.to_owned(), pipeline, rate, ..Self::default() }
    }

    pub(super) fn take(&mut self, ours: bool, recorded: &Recorded) {
        let side = usize::from(!ours);
        let all = &recorded.latency.all;
        self.p50_us[side].push(all.at(50.0).unwrap_or(0.0));
        self.p99_us[side].push(all.at(99.0).unwrap_or(0.0));
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Connections.
    pub connections: u32,
    /// Live calls at callgate.
    pub live: u32,
    /// Paired rounds.
    pub rounds: u32,
    /// Seconds of a measurement.
    pub seconds: f64,
    /// The servers' core, if they had one.
    pub server_core: Option<usize>,
    /// The load's core, if it had one.
    pub load_core: Option<usize>,
    /// Maxima.
    pub rates: Vec<RateRow>,
    /// Latencies at the same rate.
    pub latencies: Vec<LatencyRow>,
}

impl Table {
    /// The table that a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        let core = |core: Option<usize>| core.map_or_else(|| "not pinned".to_owned(), |core| format!("core {core}"));
        let mut lines = vec![
            format!(
                "RESP, {} connections; callgate with {} live calls; {} paired rounds of {:.1} s; servers on {}, load on {}",
                self.connections,
                crate::report::grouped(self.live.into()),
                self.rounds,
                self.seconds,
                core(self.server_core),
                core(self.load_core)
            ),
            "Medians, the smallest and the largest in brackets. A ratio is callgate to the other: the median of the rounds'.".to_owned(),
            String::new(),
            format!(
                "  {:<20}{:>4}   {:<26}{:<24}{:<10}{}",
                "as fast as it can", "P", "thousand answers per s", "callgate / it", "p99", "CPU us per answer: server, load"
            ),
        ];
        let mut pipeline = None;
        for row in &self.rates {
            if pipeline.is_some_and(|before| before != row.pipeline) {
                lines.push(String::new());
            }
            pipeline = Some(row.pipeline);
            lines.push(self.rate_line(row));
        }
        if !self.latencies.is_empty() {
            lines.push(String::new());
            lines.push(
                "  Open loop, both at four fifths of the other's own maximum; latency from the intended sending:"
                    .to_owned(),
            );
        }
        lines.extend(self.latencies.iter().flat_map(latency_lines));
        lines.join("\n") + "\n"
    }

    fn rate_line(&self, row: &RateRow) -> String {
        let thousands: Vec<f64> = row.per_second.iter().map(|rate| rate / 1e3).collect();
        let ours =
            self.rates.iter().find(|other| other.peer == Peer::Callgate.name() && other.pipeline == row.pipeline);
        let ratio = match ours {
            Some(ours) if ours.peer != row.peer => {
                let pairs = ours.per_second.iter().copied().zip(row.per_second.iter().copied());
                spread(&ratios(pairs), |ratio| format!("{ratio:.2}"))
            }
            Some(_) | None => String::new(),
        };
        let p99 = median(&row.p99_us).map_or_else(String::new, micros);
        let rate = spread(&thousands, |rate| format!("{rate:.0}"));
        let mut notes = String::new();
        if row.refused > 0 {
            notes += &format!("  {} refused", crate::report::grouped(row.refused));
        }
        if row.troubles > 0 {
            notes += &format!("  {} TROUBLES", crate::report::grouped(row.troubles));
        }
        let middle = |of: fn(&Cost) -> f64| {
            let costs: Vec<f64> = row.cost.iter().map(of).collect();
            median(&costs).map_or_else(String::new, |cost| format!("{cost:.2}"))
        };
        let (server, load) = (middle(|cost| cost.server_us), middle(|cost| cost.load_us));
        format!("  {:<20}{:>4}   {rate:<26}{ratio:<24}{p99:<10}{server:<8}{load}{notes}", row.peer, row.pipeline)
    }
}

fn latency_lines(row: &LatencyRow) -> Vec<String> {
    let line = |name: &str, values: &[Vec<f64>; 2]| {
        let [ours, theirs] = values.each_ref().map(|side| spread(side, micros));
        let pairs = ratios(values[1].iter().copied().zip(values[0].iter().copied()));
        let lower = spread(&pairs, |ratio| format!("{ratio:.1}"));
        format!("    {name:<5} callgate {ours:<32} {:<17} {theirs:<32} lower by {lower}", row.peer)
    };
    let head = format!("  {} at P{}: {:.0} thousand per second", row.peer, row.pipeline, row.rate / 1e3);
    vec![head, line("p50", &row.p50_us), line("p99", &row.p99_us)]
}

fn spread(values: &[f64], shown: impl Fn(f64) -> String) -> String {
    match Spread::of(values) {
        None => String::new(),
        Some(Spread { median, low, high }) => format!("{} ({} to {})", shown(median), shown(low), shown(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_pairs_of_each_round() {
        let row = |peer: Peer, per_second: &[f64]| RateRow {
            per_second: per_second.to_vec(),
            p99_us: vec![10.0],
            ..RateRow::new(peer.name(), 16)
        };
        let table = Table {
            connections: 50,
            live: 100_000,
            rounds: 3,
            seconds: 2.0,
            server_core: Some(0),
            load_core: None,
            rates: vec![row(Peer::Callgate, &[2e6, 1e6, 3e6]), row(Peer::RedisIncr, &[1e6, 1e6, 1e6])],
            latencies: vec![LatencyRow {
                p50_us: [vec![10.0], vec![20.0]],
                p99_us: [vec![100.0], vec![1000.0]],
                ..LatencyRow::new("Redis INCR", 16, 8e5)
            }],
        };
        let text = table.text();
        for part in [
            "2000 (1000 to 3000)",
            "2.00 (1.00 to 3.00)",
            "core 0, load on not pinned",
            "800 thousand per second",
            "lower by 10.0",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }
}
