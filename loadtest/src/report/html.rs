//! One page that needs nothing else: no script, no font, no picture from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::plot::{Line, Plot, Scale, escaped};
use super::{Report, summary};
use crate::num;
use crate::status::LimitUse;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
h1{font-size:1.4em;margin:0}p{margin:.3em 0 1em}pre{background:#f5f5f3;padding:1em;overflow-x:auto;font-size:13px;line-height:1.4}\
svg{width:100%;height:auto;margin:1em 0}.title{font-weight:600;font-size:14px}.tick{font-size:11px;fill:#666}.grid{stroke:#e4e4e0}.axis{stroke:#888}\
.ok,.bad{display:inline-block;padding:.1em .7em;border-radius:4px;color:#fff}.ok{background:#1d7a4f}.bad{background:#b3261e}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1d}pre{background:#262629}.tick{fill:#aaa}.grid{stroke:#38383c}text{fill:#ddd}}";

/// The page of a run.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a text can't fail.
    let _never = write_page(report, &mut out);
    out
}

fn write_page(report: &Report, out: &mut String) -> std::fmt::Result {
    let name = escaped(&report.scenario.name);
    let (class, verdict) = match (report.verdict.clean(), report.sound()) {
        (false, _) => ("bad", "a limit was broken"),
        (true, false) => ("bad", "not every question was answered"),
        (true, true) if report.verdict.windows.is_empty() => ("ok", "no id admitted twice"),
        (true, true) => ("ok", "every window within its limit, no id admitted twice"),
    };
    writeln!(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
    writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>loadtest: {name}</title>"
    )?;
    writeln!(out, "<style>{STYLE}</style></head><body>\n<h1>{name}</h1><p>{}</p>", escaped(&report.scenario.about))?;
    writeln!(out, "<p><span class=\"{class}\">{verdict}</span></p>\n<pre>{}</pre>", escaped(&summary(report)))?;
    for plot in
        [rates(report), over_time(report), percentiles(report), refusals(report), license_use(report), in_use(report)]
            .into_iter()
            .flatten()
    {
        writeln!(out, "{}", plot.svg())?;
    }
    writeln!(out, "<h2>Scenario</h2>\n<pre>{}</pre>\n</body></html>", escaped(&report.scenario.text))
}

/// A line through a value of each second, at its middle.
fn by_second(report: &Report, value: impl Fn(&crate::record::Second) -> f64) -> Vec<(f64, f64)> {
    let seconds = report.recorded.seconds.iter().enumerate();
    seconds.map(|(at, second)| (num::float_len(at) + 0.5, value(second))).collect()
}

fn rates(report: &Report) -> Option<Plot<'static>> {
    let mut lines = vec![
        Line::new("offered", by_second(report, |second| num::float(second.offered))),
        Line::new("admitted", by_second(report, |second| num::float(second.admitted))),
        Line::new("refused", by_second(report, |second| num::float(second.refused))),
    ];
    if let Some(window) = report.verdict.windows.first() {
        let limit = num::float(window.limit);
        lines.push(Line {
            name: "limit".to_owned(),
            points: vec![(0.0, limit), (report.scenario.seconds, limit)],
            dashed: true,
        });
    }
    Some(Plot { title: "Calls", x: "seconds", y: "calls per second", scale: Scale::Linear, ticks: None, lines })
}

fn over_time(report: &Report) -> Option<Plot<'static>> {
    let lines = vec![
        Line::new("median", by_second(report, |second| second.p50_us)),
        Line::new("99 %", by_second(report, |second| second.p99_us)),
        Line::new("99.9 %", by_second(report, |second| second.p999_us)),
        Line::new("slowest", by_second(report, |second| second.max_us)),
    ];
    Some(Plot { title: "Latency over time", x: "seconds", y: "microseconds", scale: Scale::Log, ticks: None, lines })
}

/// Percentiles as HdrHistogram plots them: each step to the right leaves a tenth of the answers.
fn percentiles(report: &Report) -> Option<Plot<'static>> {
    let place = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    let latency = &report.recorded.latency;
    let mut lines = Vec::new();
    for (name, found) in
        [("admit", &latency.admit), ("release", &latency.release), ("admit, from sending", &latency.service)]
    {
        if found.count > 0 {
            let told = found.percentiles.iter().filter(|(percentile, _)| *percentile < 100.0);
            lines.push(Line::new(name, told.map(|(percentile, time)| (place(*percentile), *time)).collect()));
        }
    }
    let ticks = ["0", "50", "90", "99", "99.9", "99.99", "99.999"]
        .map(|name| (place(name.parse().unwrap_or(0.0)), format!("{name} %")));
    let (x, y) = ("of the answers were quicker", "microseconds");
    Some(Plot { title: "Latency percentiles", x, y, scale: Scale::Log, ticks: Some(ticks.to_vec()), lines })
}

fn refusals(report: &Report) -> Option<Plot<'static>> {
    let causes = &report.recorded.refused_by_second;
    let named: BTreeMap<&str, u64> =
        report.recorded.refused_by_cause.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let lines: Vec<Line> = named
        .keys()
        .map(|name| {
            let at = |(second, causes): (usize, &BTreeMap<String, u64>)| {
                (num::float_len(second) + 0.5, num::float(causes.get(*name).copied().unwrap_or(0)))
            };
            Line::new(name, causes.iter().enumerate().map(at).collect())
        })
        .collect();
    let plot = Plot {
        title: "Refusals by cause",
        x: "seconds",
        y: "refusals per second",
        scale: Scale::Linear,
        ticks: None,
        lines,
    };
    (!plot.lines.is_empty()).then_some(plot)
}

/// Sizes of tables, which callgate tells beside its limits.
const TABLES: [&str; 2] = ["calls", "memories"];

/// A line per limit, through what `value` makes of each sample.
fn by_limit(report: &Report, value: impl Fn(&LimitUse) -> Option<f64>) -> Vec<Line> {
    let mut named: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in &report.status {
        for limit in sample.limits.iter().filter(|limit| !TABLES.contains(&limit.name.as_str())) {
            if let Some(value) = value(limit) {
                named.entry(&limit.name).or_default().push((sample.at_s, value));
            }
        }
    }
    named.into_iter().take(6).map(|(name, points)| Line::new(name, points)).collect()
}

/// How much of what is licensed is in use, as the limiter says.
fn license_use(report: &Report) -> Option<Plot<'static>> {
    let part =
        |limit: &LimitUse| Some(100.0 * num::float(limit.used) / num::float(limit.limit.filter(|most| *most > 0)?));
    let lines = by_limit(report, part);
    let (title, y) = ("License use, as the limiter says", "percent of the limit");
    let plot = Plot { title, x: "seconds", y, scale: Scale::Linear, ticks: None, lines };
    (!plot.lines.is_empty()).then_some(plot)
}

/// The live calls that the client knows, and what the limiter counts.
fn in_use(report: &Report) -> Option<Plot<'static>> {
    let mut lines =
        vec![Line::new("live calls, as the client knows", by_second(report, |second| num::float(second.live)))];
    lines.extend(by_limit(report, |limit| Some(num::float(limit.used))));
    Some(Plot { title: "In use", x: "seconds", y: "units", scale: Scale::Linear, ticks: None, lines })
}

#[cfg(test)]
mod tests {
    use crate::report::samples;

    #[test]
    fn the_page_stands_alone_and_shows_all_plots() {
        let page = super::page(&samples::report("steady", 1));
        for part in [
            "Calls",
            "Latency over time",
            "Latency percentiles",
            "Refusals by cause",
            "License use, as the limiter says",
            "In use",
        ] {
            assert!(page.contains(&format!(r#"aria-label="{part}"#)), "{part}");
        }
        assert!(page.contains("a test &lt;of&gt; pages") && page.contains("seconds = 3"));
        for elsewhere in ["<script", "src=", "href=", "http:", "https:", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }
}
