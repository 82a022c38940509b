//! What a person reads: the table or the line of a second, and the summary.

use std::fmt::Write;

use super::tally::{Counts, NodeSummary, Row, Summary};
use super::watch::Seen;

/// So many calls per second are one character of a bar.
const CALLS_PER_CHARACTER: u64 = 20;
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
        "\n  So far {} of {} calls admitted; a static split: {}.\n  In the fullest second: {} of {}.\n  \
         Bars: # by own licenses, + by borrowed ones. Ctrl-C ends it.",
        so_far.admitted, so_far.offered, so_far.static_split_admitted, so_far.fullest_second, so_far.bought
    );
    text
}

/// The heading above lines.
pub(super) fn heading(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n  calls: offered in that second, ok: admitted, no: refused; limit, lent and borr(owed) in calls per second; * busy now\n\n         ",
    );
    for row in rows {
        let _ = write!(text, "| {:<34} ", row.name);
    }
    text.push_str("| together\n  second ");
    for _ in rows {
        text.push_str("| calls    ok    no limit  lent  borr ");
    }
    text.push_str("| calls    ok    no bought\n");
    text
}

/// The line of one second.
pub(super) fn line(rows: &[Row], so_far: &Summary) -> String {
    let mut text = format!("  {:>6} ", so_far.seconds);
    for row in rows {
        let _ = write!(
            text,
            "|{}{:>5} {:>5} {:>5} {:>5} {:>5} {:>5} ",
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
    let mut text = format!("\nIn {} s, with {} calls per second bought in sum:\n\n", of.seconds, of.bought);
    let mut line = |count: u64, what: &str| {
        let _ = writeln!(text, "  {count:>7}  {what}");
    };
    let possible = of.common_window_admitted;
    line(of.offered, "calls were offered");
    line(
        of.admitted,
        &format!("were admitted: {} of what is possible at all ({possible})", percent(of.admitted, possible)),
    );
    line(
        of.static_split_admitted,
        &format!(
            "would a static split have admitted, each with its own alone: {}",
            percent(of.static_split_admitted, possible)
        ),
    );
    line(u64::from(of.fullest_second), &format!("were admitted in the fullest second, of {}", of.bought));
    line(of.live_calls_left, "calls were left when all had ended");
    text.push('\n');
    for node in &of.nodes {
        let NodeSummary { name, holds, most_admitted_in_a_second: most, most_borrowed, most_lent, .. } = node;
        let _ = writeln!(
            text,
            "  {name}, which holds {holds}: up to {most} admitted in a second, {most_borrowed} borrowed, {most_lent} lent"
        );
    }
    for broken in &of.broken {
        let _ = writeln!(text, "\nBROKEN: {broken}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let seen = Seen { limit: Some(280), lent: 0, borrowed: 180, ..Seen::default() };
        let busy = Counts { offered: 299, admitted: 271 };
        let quiet = Counts { offered: 12, admitted: 12 };
        vec![
            Row { name: "sip-a", holds: 100, busy: true, counts: busy, seen: Some(seen) },
            Row { name: "sip-b", holds: 100, busy: false, counts: quiet, seen: None },
        ]
    }

    fn of() -> Summary {
        let node = NodeSummary {
            name: "sip-a",
            holds: 100,
            most_admitted_in_a_second: 271,
            most_borrowed: 180,
            most_lent: 95,
            ..NodeSummary::default()
        };
        Summary {
            seconds: 12,
            bought: 200,
            offered: 6426,
            admitted: 5634,
            refused: 792,
            static_split_admitted: 2599,
            common_window_admitted: 5842,
            fullest_second: 198,
            nodes: vec![node],
            ..Summary::default()
        }
    }

    #[test]
    fn a_second_reads_as_a_table_or_as_a_line() {
        insta::assert_snapshot!("table", table(&rows(), &of()));
        insta::assert_snapshot!("lines", format!("{}{}", heading(&rows()), line(&rows(), &of())));
    }

    #[test]
    fn the_summary_says_in_plain_words_what_was_admitted_and_what_was_broken() {
        insta::assert_snapshot!("summary", summary(&of()));
        let broken = Summary { broken: vec!["sip-b ended: signal: 9".to_owned()], ..of() };
        assert!(summary(&broken).ends_with("\nBROKEN: sip-b ended: signal: 9\n"));
        assert!(summary(&Summary::default()).contains("100 % of what is possible"), "nothing of nothing");
    }

    #[test]
    fn no_line_of_the_table_is_wider_than_a_terminal() {
        let wide = table(&rows(), &of()).lines().map(|line| line.chars().count()).max();
        assert!(wide <= Some(80), "{wide:?}");
    }
}
