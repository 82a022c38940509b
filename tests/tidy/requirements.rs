//! `tests/requirements.md`: each requirement has the tests that hold it or a reason why none does, and what is named exists.
//!
//! It stops at the names: whether a test would fail if its requirement were broken is for people to judge.

use std::collections::BTreeMap;

use super::{backticked, files, read, root};

/// Where an ID stands, each with its line.
#[derive(Default)]
struct Standing {
    rows: Vec<usize>,
    reasons: Vec<usize>,
    listed: Vec<usize>,
}

/// What the page says.
#[derive(Default)]
struct Page {
    ids: BTreeMap<String, Standing>,
    /// The tests that a row names, with its line and ID.
    tests: Vec<(usize, String, String)>,
    wrong: Vec<String>,
}

fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(group, number)| {
        let all = |part: &str, is: fn(&char) -> bool| !part.is_empty() && part.chars().all(|c| is(&c));
        all(group, char::is_ascii_uppercase) && all(number, char::is_ascii_digit)
    })
}

/// Rows stand under no heading or any other; the two headings that are named here have tables of their own form.
fn parsed(page: &str) -> Page {
    let mut found = Page::default();
    let mut heading = "";
    for (line, number) in page.lines().zip(1..) {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match (heading, cells.as_slice()) {
            ("Not held by a test", [_, ids, reason, _]) => {
                let ids: Vec<&str> = ids.split_whitespace().filter(|id| is_id(id)).collect();
                if !ids.is_empty() && reason.is_empty() {
                    found.wrong.push(format!("line {number}: {} without a reason", ids.join(" ")));
                }
                for id in ids {
                    found.ids.entry(id.to_owned()).or_default().reasons.push(number);
                }
            }
            ("All that must be held", [_, _, ids, _]) => {
                for id in ids.split_whitespace().filter(|id| is_id(id)) {
                    found.ids.entry(id.to_owned()).or_default().listed.push(number);
                }
            }
            (_, [_, id, _, tests, _]) if is_id(id) => {
                found.ids.entry((*id).to_owned()).or_default().rows.push(number);
                let before = found.tests.len();
                found.tests.extend(backticked(tests).map(|test| (number, (*id).to_owned(), test.to_owned())));
                if found.tests.len() == before {
                    found.wrong.push(format!("line {number}: {id} names no test"));
                }
            }
            _ => {}
        }
    }
    found
}

/// Everything that is wrong with a page; `exists` knows the tests.
fn faults(page: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let Page { ids, tests, mut wrong } = parsed(page);
    for (line, id, test) in tests {
        if !exists(&test) {
            wrong.push(format!("line {line}: {id} names the test `{test}`, which does not exist"));
        }
    }
    for (id, Standing { rows, reasons, listed }) in ids {
        for (lines, place) in [(&rows, "a row"), (&reasons, "a reason"), (&listed, "the list")] {
            if lines.len() > 1 {
                wrong.push(format!("{id} stands twice as {place}: lines {lines:?}"));
            }
        }
        match (rows.as_slice(), reasons.as_slice()) {
            ([], []) => wrong.push(format!("{id} has neither a row nor a reason")),
            ([row, ..], [reason, ..]) => {
                wrong.push(format!("{id} has a row in line {row} and a reason for none in line {reason}"));
            }
            ([], [reason, ..]) if listed.is_empty() => {
                wrong.push(format!("line {reason}: {id} is not of the list, and needs no reason"));
            }
            _ => {}
        }
    }
    wrong
}

#[test]
fn every_requirement_has_tests_that_exist_or_a_reason_for_none() {
    let page = read(&root().join("tests/requirements.md"));
    let sources: String =
        ["src", "tests", "loadtest"].iter().flat_map(|dir| files(dir, "rs")).map(|path| read(&path)).collect();
    let wrong = faults(&page, |test| {
        let name = test.rsplit("::").next().unwrap_or(test);
        // A row of a macro that makes tests reads `name => scenario`.
        sources.contains(&format!("fn {name}(")) || sources.contains(&format!(" {name} => "))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let found = parsed(&page);
    let listed = found.ids.values().filter(|of| !of.listed.is_empty()).count();
    assert!(listed > 200 && found.tests.len() > 200, "{listed} requirements, {} names of tests", found.tests.len());
}

#[test]
fn what_is_wrong_with_a_page_of_requirements_is_found() {
    let page = |rows: &str, reasons: &str, listed: &str| {
        format!(
            "| ID | requirement | tests |\n|---|---|---|\n{rows}\n## Not held by a test\n\n| IDs | reason |\n|---|---|\n\
             {reasons}\n## All that must be held\n\n| section | IDs |\n|---|---|\n{listed}"
        )
    };
    let told = |rows: &str, reasons: &str, listed: &str| faults(&page(rows, reasons, listed), |test| test != "a::gone");
    let whole = "| A-1 | x | `a::b` |\n| B-2 | optional | `a::c`, `a::d` |\n";
    assert_eq!(told(whole, "| A-2 A-3 | later |\n", "| a | A-1 A-2 A-3 |\n"), [""; 0]);
    for (rows, reasons, listed, fault) in [
        (whole, "", "| a | A-1 A-2 |\n", "A-2 has neither a row nor a reason"),
        (whole, "| A-1 | later |\n", "| a | A-1 |\n", "A-1 has a row in line 3 and a reason for none in line 10"),
        (whole, "| A-2 A-2 | later |\n", "| a | A-1 A-2 |\n", "A-2 stands twice as a reason: lines [10, 10]"),
        (whole, "", "| a | A-1 |\n| b | A-1 |\n", "A-1 stands twice as the list: lines [15, 16]"),
        ("| A-1 | x | `a` |\n| A-1 | y | `b` |\n", "", "| a | A-1 |\n", "A-1 stands twice as a row: lines [3, 4]"),
        (whole, "| A-2 |  |\n", "| a | A-1 A-2 |\n", "line 10: A-2 without a reason"),
        (whole, "| A-9 | later |\n", "| a | A-1 |\n", "line 10: A-9 is not of the list, and needs no reason"),
        ("| A-1 | x | none |\n", "", "| a | A-1 |\n", "line 3: A-1 names no test"),
        ("| A-1 | x | `a::gone` |\n", "", "", "line 3: A-1 names the test `a::gone`, which does not exist"),
    ] {
        assert_eq!(told(rows, reasons, listed), [fault]);
    }
}
