//! The whole way, over sockets, against limiters of known virtue: one that keeps its limit, one that lets one more through, one that
//! forgets whom it has admitted.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expected by failing")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use loadtest::call_id::Names;
use loadtest::checks::Checks;
use loadtest::clock::Clock;
use loadtest::drive::{self, How, Pace, Progress, Steady, Work};
use loadtest::report::Report;
use loadtest::wire::Wire;
use support::{Limiter, Virtue};

/// Sixty calls at once, again and again, where ten a second are allowed; half of them asked about twice.
const SCENARIO: &str = r#"
about = "more than is allowed, at once"
seconds = "2500ms"
[target]
connections = 4
pipeline = 8
[arrivals]
shape = "bursts"
burst = 60
every = "400ms"
rate = 20
[calls]
hold = { dist = "fixed", time = "10s" }
retransmit_percent = 50
retransmit_after = "30ms"
lost_release_percent = 5
[check]
limit = 10
"#;

/// Runs the program against a limiter; its result is in `directory`.
fn run(limiter: &Limiter, target: &str, directory: &Path) -> Output {
    let scenario = directory.join("burst.toml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["run", &scenario.display().to_string(), "--target", target])
        .args(["--json", &directory.join("out.json").display().to_string()])
        .args(["--html", &directory.join("out.html").display().to_string()])
        .output()
        .expect("loadtest runs");
    assert!(limiter.serves(), "the limiter is still there");
    output
}

fn report(directory: &Path) -> Report {
    serde_json::from_str(&std::fs::read_to_string(directory.join("out.json")).unwrap()).unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_limiter_that_keeps_its_limit_passes_over_tcp_and_unix() {
    let limiter = Limiter::start(10, Virtue::Exact);
    for target in [limiter.tcp(), limiter.unix()] {
        let directory = tempfile::tempdir().unwrap();
        let output = run(&limiter, &target, directory.path());
        let text = told(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let report = report(directory.path());
        let totals = report.recorded.totals;
        assert_eq!((totals.offered, totals.unanswered, totals.errors), (report.scenario.calls, 0, 0), "{text}");
        assert!(totals.admitted > 0 && totals.refused > 0 && totals.duplicates > 0, "{text}");
        assert_eq!(totals.admitted + totals.refused, totals.offered, "{text}");
        assert_eq!(totals.released + totals.releases_lost, totals.admitted, "{text}");
        assert!(report.verdict.windows[0].largest <= 10, "{text}");
        assert!(std::fs::read_to_string(directory.path().join("out.html")).unwrap().contains("<svg"));
    }
}

#[test]
fn a_limiter_that_lets_one_more_through_is_found_out() {
    let limiter = Limiter::start(11, Virtue::Exact);
    let directory = tempfile::tempdir().unwrap();
    let output = run(&limiter, &limiter.tcp(), directory.path());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("VIOLATED  calls: 11 certainly admitted in one second, the limit is 10"), "{text}");
    assert_eq!(report(directory.path()).verdict.ids.twice, 0, "{text}");
}

#[test]
fn a_limiter_that_forgets_whom_it_admitted_is_found_out() {
    let limiter = Limiter::start(100_000, Virtue::Forgetful);
    let directory = tempfile::tempdir().unwrap();
    let output = run(&limiter, &limiter.tcp(), directory.path());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(report(directory.path()).verdict.ids.twice > 0, "{text}");
    assert!(text.contains("ids admitted again while they were live"), "{text}");
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = directory.path().join("x.toml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    let nobody = format!("resp+unix:{}", directory.path().join("nobody").display());
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["run", &scenario.display().to_string(), "--target", &nobody])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains(&format!("{nobody} does not take connections")), "{}", told(&output));
}

#[test]
fn two_results_are_compared() {
    let limiter = Limiter::start(10, Virtue::Exact);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for directory in &directories {
        run(&limiter, &limiter.tcp(), directory.path());
    }
    let files = directories.each_ref().map(|directory| directory.path().join("out.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("compare").args(&files).output().unwrap();
    let text = told(&output);
    assert!(output.status.success() && text.contains("admit p99") && !text.contains("NOTE"), "{text}");
}

#[test]
fn a_lost_connection_is_told_and_made_anew() {
    let limiter = Limiter::start(10, Virtue::HangsUpOnce);
    let directory = tempfile::tempdir().unwrap();
    let output = run(&limiter, &limiter.tcp(), directory.path());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let totals = report(directory.path()).recorded.totals;
    assert!(totals.connections_lost >= 1 && totals.unanswered >= 1 && totals.admitted > 10, "{text}");
}

#[test]
fn the_echo_answers_matched_questions_with_the_bytes_of_callgate() {
    let (tell, told) = std::sync::mpsc::channel();
    // It serves until the process ends.
    std::thread::spawn(move || {
        loadtest::echo::serve("127.0.0.1:0".parse().unwrap(), move |address| tell.send(address).unwrap())
    });
    let target = format!("resp://{}", told.recv().unwrap()).parse().unwrap();
    let pace = Pace::Closed { until: 300_000_000 };
    let mut source = Steady::new(Work::Matched, pace, Wire::Resp, Names::new(1), 0, Checks::default());
    let how = How { connections: 5, pipeline: 16, patience: 5_000_000_000 };
    drive::run(&mut source, &target, &how, &Clock::start(), &Progress::default()).unwrap();
    let totals = source.finish().0.totals;
    assert_eq!((totals.errors, totals.unanswered, totals.unknown), (0, 0, 0));
    assert_eq!(totals.admitted + totals.released, totals.answered);
    assert!(totals.answered > 0 && totals.admitted.abs_diff(totals.released) <= 5);
}
