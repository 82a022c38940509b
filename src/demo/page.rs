//! What a person reads: the table or the line of a second, and the summary.

use std::fmt::Write;

use super::tally::{Counts, Row, Summary};
use super::watch::Seen;

/// So many calls per second are one character of a bar.
const CALLS_PER_CHARACTER: u64 = 15;
/// Lines after which the heading comes again.
pub(super) const HEADING_EVERY: u64 = 20;

/// A figure that a sidecar tells, or a dash.
fn told(seen: Option<Seen>, figure: impl FnOnce(Seen) -> Option<u64>) -> String {
    seen.and_then(figure).map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// What was admitted: of its own licenses, and beyond them.
fn bar(row: &Row) -> String {
    let own = row.counts.admitted.min(u64::from(row.holds));
    let more = row.counts.admitted - own;
    let part = |sign: &str, calls: u64| sign.repeat(usize::try_from(calls.div_ceil(CALLS_PER_CHARACTER)).unwrap_or(0));
    format!("{}{}", part("#", own), part("+", more))
}

fn sum(rows: &[Row]) -> Counts {
    rows.iter().fold(Counts::default(), |sum, row| sum.plus(row.counts))
}

/// The table of one second.
pub(super) fn table(rows: &[Row], so_far: &Summary) -> String {
    let mut text = String::from("\n");
    // Writing to a string doesn't fail, here and below.
    let _ = writeln!(
        text,
        "  {:<10} {:>7} {:>8} {:>7} {:>6} {:>5} {:>8}",
        format!("{} s", so_far.seconds),
        "offered",
        "admitted",
        "refused",
        "limit",
        "lent",
        "borrowed"
    );
    for row in rows {
        let name = if row.busy { format!("{} busy", row.name) } else { row.name.to_owned() };
        let Counts { offered, admitted } = row.counts;
        let line = format!(
            "  {name:<10} {offered:>7} {admitted:>8} {:>7} {:>6} {:>5} {:>8}  {}",
            row.counts.refused(),
            told(row.seen, |seen| seen.limit),
            told(row.seen, |seen| Some(seen.lent)),
            told(row.seen, |seen| Some(seen.borrowed)),
            bar(row)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let all = sum(rows);
    let _ = writeln!(
        text,
        "  {:<10} {:>7} {:>8} {:>7} {:>6}  bought",
        "together",
        all.offered,
        all.admitted,
        all.refused(),
        so_far.bought
    );
    let _ = writeln!(
        text,
        "\n  So far {} of {} calls admitted; each alone, with its own licenses, {}.\n  The fullest second held {} of {}. \
         Bars: # own licenses, + borrowed ones. Ctrl-C ends it.",
        so_far.admitted, so_far.offered, so_far.static_split_admitted, so_far.fullest_second, so_far.bought
    );
    text
}

/// The heading above lines.
pub(super) fn heading(rows: &[Row]) -> String {
    let mut text = String::from("\n        ");
    let _ = rows.iter().try_for_each(|row| write!(text, "| {:<33} ", format!("{} (* busy now)", row.name)));
    text.push_str("| together\n  second");
    for _ in rows {
        text.push_str(" | offer admit refus limit  lent borr ");
    }
    text.push_str("| offer admit refus bought\n");
    text
}

/// The line of one second.
pub(super) fn line(rows: &[Row], so_far: &Summary) -> String {
    let mut text = format!("  {:>6} ", so_far.seconds);
    for row in rows {
        let _ = write!(
            text,
            "|{}{:>5} {:>5} {:>5} {:>5} {:>5} {:>4} ",
            if row.busy { '*' } else { ' ' },
            row.counts.offered,
            row.counts.admitted,
            row.counts.refused(),
            told(row.seen, |seen| seen.limit),
            told(row.seen, |seen| Some(seen.lent)),
            told(row.seen, |seen| Some(seen.borrowed)),
        );
    }
    let all = sum(rows);
    let _ = writeln!(text, "| {:>5} {:>5} {:>5} {:>6}", all.offered, all.admitted, all.refused(), so_far.bought);
    text
}

/// `98.7 %`; of nothing, all of it.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "100 %".to_owned();
    }
    let mille = part.saturating_mul(1000).saturating_add(whole / 2) / whole;
    format!("{}.{} %", mille / 10, mille % 10)
}

/// The summary.
pub(super) fn summary(of: &Summary) -> String {
    let mut text =
        format!("\nIn {} s, with {} calls per second bought by all of them together:\n\n", of.seconds, of.bought);
    let mut row = |label: &str, value: u64, remark: &str| {
        let _ = writeln!(text, "  {label:<34} {value:>8}  {remark}");
    };
    row("calls were offered", of.offered, "");
    row(
        "were admitted",
        of.admitted,
        &format!("{} of what is possible", percent(of.admitted, of.common_window_admitted)),
    );
    row(
        "is possible: one window, no delay",
        of.common_window_admitted,
        "what a central counter without any delay admits",
    );
    let alone = format!("{} of what is possible", percent(of.static_split_admitted, of.common_window_admitted));
    row("each alone would have admitted", of.static_split_admitted, &alone);
    row("in the fullest second", u64::from(of.fullest_second), &format!("of {}, over all three", of.bought));
    row("calls left when all had ended", of.live_calls_left, "");
    text.push('\n');
    for node in &of.nodes {
        let _ = writeln!(
            text,
            "  {} holds {} calls per second; it admitted up to {} in a second, borrowed up to {}, lent up to {}",
            node.name, node.holds, node.most_admitted_in_a_second, node.most_borrowed, node.most_lent
        );
    }
    for broken in &of.broken {
        let _ = writeln!(text, "\nBROKEN: {broken}");
    }
    text
}
