//! What operators see of the past: archived reports, and use over time.

use serde_json::Value;

use super::rig::{Agent, Manager};

fn json(manager: &Manager, words: &[&str]) -> Value {
    let said = manager.says(&[words, &["--format", "json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
}

#[test]
fn a_report_on_demand_is_archived_and_shown_as_it_was_however_things_change() {
    let mut manager = Manager::start();
    manager.says(&["pool", "add", "cps", "5"]);
    let made = json(&manager, &["report", "run", "inventory"]);
    let id = made["id"].as_str().unwrap();
    let pool = |report: &Value| report["pools"][0]["purchased"].as_u64();
    assert_eq!(pool(&made), Some(5));
    manager.says(&["pool", "add", "cps", "7"]);
    manager.stop();
    manager.restart_after_stop();
    let list = json(&manager, &["report", "list"]);
    let listed =
        list["items"].as_array().unwrap().iter().any(|report| report["id"] == id && report["kind"] == "inventory");
    assert!(listed, "{list}");
    let shown = json(&manager, &["report", "show", id]);
    assert_eq!((pool(&shown), &shown["at"], &shown["actor"]), (Some(5), &made["at"], &made["actor"]));
    let people = manager.says(&["report", "show", id]);
    assert!(people.contains(id) && people.contains("cps"), "{people}");
    assert_eq!(pool(&json(&manager, &["report", "run", "inventory"])), Some(12));
}

#[test]
fn use_of_a_pool_is_shown_by_day_with_its_peak_and_what_was_reported() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "50"]);
    for (seed, peak) in [(1, 7), (2, 4)] {
        let mut agent = Agent::new(seed);
        let keys = agent.register(&manager, &manager.token(&[])).key_set;
        agent.entitle(&manager, &keys, 15);
        agent.report(&manager, &keys, 15, peak);
    }
    let range = json(&manager, &["history", "pools", "--by", "range", "--tag", "cps"]);
    let pool = &range["items"][0];
    assert_eq!((pool["reports"].as_u64(), pool["requested"].as_u64()), (Some(2), Some(30)), "{range}");
    assert_eq!((pool["peak"].as_u64(), pool["instances"].as_u64()), (Some(11), Some(2)), "{range}");
    let days = json(&manager, &["history", "pools", "--days", "3"]);
    let reports: u64 = days["items"].as_array().unwrap().iter().filter_map(|day| day["reports"].as_u64()).sum();
    assert_eq!(reports, 2, "{days}");
    let people = manager.says(&["history", "pools", "--by", "range"]);
    assert!(people.contains("PEAK AT") && people.contains("cps"), "{people}");
    assert!(manager.says(&["history", "pools", "--tag", "none"]).contains("Nothing was reported"));

    let page = manager.says(&["history", "usage", "--limit", "1"]);
    let after = page.lines().find_map(|line| line.strip_prefix("More: --after ")).unwrap_or_else(|| panic!("{page}"));
    let rest = json(&manager, &["history", "usage", "--after", after]);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(1), &Value::Null), "{rest}");
}
