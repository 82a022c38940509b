//! Line plots as SVG, small enough to own: axes with round numbers, lines, a legend, a crosshair that needs no script.

use std::fmt::Write;

use crate::num;

/// A line: its name and its points.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Drawn in dashes: a limit rather than a measurement.
    pub(super) dashed: bool,
}

impl Line {
    pub(super) fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, dashed: false }
    }
}

/// How values lie along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// A plot.
#[derive(Debug, Clone)]
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) scale: Scale,
    /// Names at places of the x axis, instead of round numbers.
    pub(super) ticks: Option<Vec<(f64, String)>>,
    pub(super) lines: Vec<Line>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 62.0;
/// Told apart by people with any color vision (Okabe and Ito, 2008).
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555"];
/// Points of a line; a longer one is thinned, its highest points kept.
const POINTS_MAX: usize = 600;

impl Plot<'_> {
    /// The plot as an SVG element.
    pub(super) fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a text can't fail.
        let _never = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let (x_low, x_high) = bounds(points().map(|(x, _)| x));
        let (mut y_low, y_high) = bounds(points().map(|(_, y)| y).filter(|y| self.scale == Scale::Linear || *y > 0.0));
        if self.scale == Scale::Linear {
            y_low = y_low.min(0.0);
        }
        let y_ticks = self.y_ticks(y_low, y_high);
        let (y_low, y_high) = (y_ticks.first().copied().unwrap_or(y_low), y_ticks.last().copied().unwrap_or(y_high));
        let across = |x: f64| LEFT + (x - x_low) / (x_high - x_low).max(1e-12) * (WIDTH - LEFT - RIGHT);
        let placed = |y: f64| match self.scale {
            Scale::Linear => (y - y_low) / (y_high - y_low).max(1e-12),
            Scale::Log => (y.max(y_low) / y_low).ln() / (y_high / y_low).ln().max(1e-12),
        };
        let up = |y: f64| HEIGHT - BOTTOM - placed(y) * (HEIGHT - TOP - BOTTOM);
        writeln!(out, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escaped(self.title))?;
        writeln!(out, r#"<text class="title" x="{LEFT}" y="18">{}</text>"#, escaped(self.title))?;
        for tick in &y_ticks {
            let y = up(*tick);
            writeln!(out, r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#, WIDTH - RIGHT)?;
            writeln!(
                out,
                r#"<text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
                LEFT - 6.0,
                y + 4.0,
                short(*tick)
            )?;
        }
        let named = || round_ticks(x_low, x_high, 8).into_iter().map(|x| (x, short(x))).collect();
        for (x, name) in
            self.ticks.clone().unwrap_or_else(named).into_iter().filter(|(x, _)| (x_low..=x_high).contains(x))
        {
            let (x, y) = (across(x), HEIGHT - BOTTOM);
            writeln!(out, r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{y:.1}" y2="{:.1}"/>"#, y + 4.0)?;
            writeln!(
                out,
                r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{:.1}">{}</text>"#,
                y + 17.0,
                escaped(&name)
            )?;
        }
        writeln!(
            out,
            r#"<line class="axis" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#,
            WIDTH - RIGHT,
            y = HEIGHT - BOTTOM
        )?;
        writeln!(
            out,
            r#"<text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
            WIDTH - RIGHT,
            HEIGHT - BOTTOM + 32.0,
            escaped(self.x)
        )?;
        writeln!(
            out,
            r#"<text class="tick" text-anchor="end" x="{:.1}" y="18">{}</text>"#,
            WIDTH - RIGHT,
            escaped(self.y)
        )?;
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let path: Vec<String> = thinned(&line.points)
                .into_iter()
                .filter(|(_, y)| self.scale == Scale::Linear || *y > 0.0)
                .map(|(x, y)| format!("{:.1},{:.1}", across(x), up(y)))
                .collect();
            let dashes = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
            writeln!(
                out,
                r#"<polyline fill="none" stroke="{color}" stroke-width="1.8"{dashes} points="{}"/>"#,
                path.join(" ")
            )?;
        }
        self.legend(out)?;
        writeln!(out, "</svg>")
    }

    fn legend(&self, out: &mut String) -> std::fmt::Result {
        let mut x = LEFT;
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let y = HEIGHT - 12.0;
            writeln!(
                out,
                r#"<line x1="{x:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}" stroke="{color}" stroke-width="3"/>"#,
                x + 14.0,
                y - 4.0,
                y - 4.0
            )?;
            writeln!(out, r#"<text class="tick" x="{:.1}" y="{y:.1}">{}</text>"#, x + 18.0, escaped(&line.name))?;
            x += 34.0 + 6.6 * num::float_len(line.name.chars().count());
        }
        Ok(())
    }

    fn y_ticks(&self, low: f64, high: f64) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let mut ticks = round_ticks(low, high, 5);
                if let [.., before, last] = ticks.as_slice()
                    && *last < high
                {
                    let next = last + (last - before);
                    ticks.push(next);
                }
                ticks
            }
            Scale::Log => {
                let first = low.max(1e-9).log10().floor();
                let last = high.max(1e-9).log10().ceil().max(first + 1.0);
                (0..=num::whole(last - first)).map(|step| 10_f64.powf(first + num::float(step))).collect()
            }
        }
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low, low + 1.0),
        (true, true) => (low, high),
    }
}

/// About `count` numbers from low to high whose distance is 1, 2 or 5 times a power of ten.
fn round_ticks(low: f64, high: f64, count: u64) -> Vec<f64> {
    let rough = (high - low).max(1e-12) / num::float(count);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    (0..=count * 2)
        .map(|tick| (first + num::float(tick)) * step)
        .take_while(|tick| *tick <= high + step * 1e-9)
        .collect()
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let part = points.len().div_ceil(POINTS_MAX).max(1);
    points.chunks(part).filter_map(|chunk| chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))).collect()
}

/// A number in few letters.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Text that is no markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(round_ticks(0.0, 100.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(round_ticks(3.0, 17.0, 5), [5.0, 10.0, 15.0]);
        assert_eq!([0.0, 0.25, 150.0, 20_000.0, 1_500_000.0].map(short), ["0", "0.25", "150", "20 k", "1.5 M"]);
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_peaks() {
        let mut points: Vec<(f64, f64)> = (0..6000).map(|x| (f64::from(x), 1.0)).collect();
        points[3210].1 = 99.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX && thin.iter().any(|(_, y)| *y > 98.0));
    }

    #[test]
    fn nothing_and_one_point_are_plots_too() {
        for points in [vec![], vec![(1.0, 5.0)], vec![(0.0, 0.0), (1.0, 0.0)]] {
            for scale in [Scale::Linear, Scale::Log] {
                let lines = vec![Line::new("a<b", points.clone())];
                let svg = Plot { title: "t", x: "s", y: "n", scale, ticks: None, lines }.svg();
                assert!(
                    svg.starts_with("<svg") && svg.contains("a&lt;b") && !svg.contains("NaN") && !svg.contains("inf"),
                    "{svg}"
                );
            }
        }
    }
}
