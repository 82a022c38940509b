//! The page as a monitoring system reads it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::admission::{Cause, LimitView};
use crate::cluster::{Class, Kind, Licenses};
use crate::shell::cluster::status::{Member, Share};
use crate::shell::license::driver::evaluating;
use crate::shell::license::status::LicenseStatus;
use crate::shell::telemetry::{Command, FrontEnd};
use crate::units::{Now, Tick};

fn limit(name: &str, limit: Option<u32>, used: u32) -> LimitView {
    LimitView { name: name.to_owned(), limit, used, peak: used }
}

fn cluster() -> ClusterStatus {
    let member = Member {
        name: "sip-b".to_owned(),
        address: "10.0.0.2:7503".to_owned(),
        state: "connected",
        incarnation: Some(1),
        for_s: 1,
        connected_to: None,
        round_trip_us: Some(900),
        certificate_expires: Some(UnixMillis(1_830_000_000_000)),
        failure: None,
        refused: None,
    };
    let share = Share {
        resource: "cps".to_owned(),
        kind: Kind::Rate,
        class: Class::License,
        home: Licenses(20),
        used_units: 7,
        granted: Licenses(20),
        limit_units: 90,
        offered_per_second: 60,
        starving: false,
        limbo: Licenses(1),
        limbo_ends_in_ms: Some(1500),
        recalled: std::collections::BTreeMap::new(),
        reclaimed: std::collections::BTreeMap::new(),
        lent: [("sip-b".to_owned(), Licenses(2))].into(),
        borrowed: [("sip-c".to_owned(), Licenses(3))].into(),
    };
    let mut status = ClusterStatus { members: vec![member], resources: vec![share], ..ClusterStatus::default() };
    status.figures.ignored.insert("a sender that is no member", 1);
    status.figures.transport.refused.push(("foreign", 2));
    status.figures.transport.garbled.push(("malformed", 3));
    status
}

fn sample() -> Sample {
    let counters = Counters::default();
    counters.front(FrontEnd::Resp).commands(Command::Admit, 7);
    counters.front(FrontEnd::Resp).decided(7, 900);
    let mut status = Status {
        admitted_total: 10,
        emergency_total: 1,
        limits: vec![
            limit("cps", Some(100), 3),
            limit("sessions:standard", None, 4),
            limit("trunk-cps:a\"b\\c\nd", Some(5), 1),
            limit("tenant-sessions:acme", Some(9), 2),
        ],
        ..Status::default()
    };
    status.refused_total[usize::from(Cause::Cps.code())] = 42;
    let now = Now { tick: Tick::from_secs(1_000), wall: UnixMillis(1_800_000_000_500) };
    let license = LicenseStatus::of(&evaluating(now));
    Sample {
        status,
        verdict: Verdict::default(),
        license: Some(Arc::new(license)),
        cluster: Some(Arc::new(cluster())),
        counters,
        alarms: vec![(AlarmId::CapNear, Severity::Warning), (AlarmId::CapNear, Severity::Major)],
        alarms_raised_total: 2,
        alarms_not_kept_total: 0,
        notifications: vec![NotificationCounts { destination: "ops".to_owned(), sent: 3, failed: 2, dropped: 1 }],
        log_lines_dropped_total: 0,
        ready: true,
        started: UnixMillis(1_799_999_000_000),
        process: ProcessView { resident_bytes: 1, open_fds: 2, max_fds: 3, cpu_seconds: 0.25 },
        group_metrics: true,
    }
}

/// Family name to type, from the `# TYPE` lines.
fn families(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn the_names_and_types_of_metrics_are_an_interface() {
    let names: Vec<String> =
        families(&render(sample())).into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    insta::assert_snapshot!("metric_names", names.join("\n"));
}

#[test]
fn the_page_is_open_metrics_that_a_strict_reader_accepts() {
    let text = render(sample());
    assert!(text.ends_with("# EOF\n"));
    let kinds = families(&text);
    let mut current: Option<String> = None;
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        assert!(!line.is_empty(), "no empty lines");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(name.clone()), "{name} is told twice");
            assert!(name.starts_with("callgate_"), "{name}");
            assert!(rest.len() > name.len() + 1, "{name} has no help");
            current = Some(name);
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let family = current.as_deref().unwrap();
        let name = line.split(['{', ' ']).next().unwrap();
        let suffixes: &[&str] = match kinds[family].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("unexpected type {other}"),
        };
        assert!(suffixes.iter().any(|suffix| *name == format!("{family}{suffix}")), "{line} is not of {family}");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn no_name_of_a_family_ends_in_a_suffix_that_the_format_adds() {
    for (name, _) in families(&render(sample())) {
        for suffix in ["_total", "_info", "_bucket", "_sum", "_count"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
    }
}

#[test]
fn every_refusing_cause_has_its_line_even_at_zero() {
    let text = render(sample());
    assert!(text.contains("callgate_refused_total{cause=\"cps\"} 42\n"));
    for cause in Cause::ALL.iter().filter(|cause| !cause.admits()) {
        assert!(text.contains(&format!("callgate_refused_total{{cause=\"{cause}\"}}")), "{cause}");
    }
    assert!(!text.contains("callgate_refused_total{cause=\"ok\"}"));
}

#[test]
fn a_name_with_quotes_and_line_feeds_cannot_break_the_page() {
    let text = render(sample());
    assert!(text.contains("callgate_group_limit_units{scope=\"trunk\",resource=\"cps\",name=\"a\\\"b\\\\c\\nd\"} 5\n"));
}

#[test]
fn group_metrics_can_be_switched_off() {
    let text = render(Sample { group_metrics: false, ..sample() });
    assert!(!text.contains("callgate_group_limit") && text.contains("callgate_limit_units{limit=\"cps\"} 100"));
}

#[test]
fn a_limit_that_is_not_limited_has_use_but_no_limit() {
    let text = render(sample());
    assert!(text.contains("callgate_limit_used_units{limit=\"sessions:standard\"} 4\n"));
    assert!(!text.contains("callgate_limit_units{limit=\"sessions:standard\"}"));
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let text = render(sample());
    assert!(text.contains("callgate_decision_seconds_bucket{le=\"+Inf\",front_end=\"resp\"} 7\n"), "{text}");
    assert!(text.contains("callgate_decision_seconds_count{front_end=\"resp\"} 7\n"));
}

#[test]
fn license_state_alarms_and_deadlines_are_told() {
    let text = render(sample());
    assert!(text.contains("callgate_license_state{state=\"evaluation\"} 1\n"));
    assert!(text.contains("callgate_license_state{state=\"disabled\"} 0\n"));
    assert!(text.contains("callgate_license_deadline_timestamp_seconds{deadline=\"evaluation_end\"} 1807776000.5\n"));
    assert!(text.contains("callgate_alarm_active{alarm=\"CAP_NEAR\"} 2\n"));
    assert!(text.contains("callgate_alarms_active{severity=\"critical\"} 0\n"));
}

/// Every name that starts like ours in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("callgate_"))
        .map(str::to_owned)
        .collect()
}

/// Whether the license manager exposes this: it writes its page by itself, and is not run here.
fn is_the_managers(name: &str) -> bool {
    let page = include_str!("../../../manager/api/metrics.rs");
    name.strip_prefix("callgate_manager_").is_some_and(|short| {
        let short = short.strip_suffix("_total").unwrap_or(short);
        page.contains(&format!("\"{short}\"")) || page.contains(&format!("# TYPE {name} "))
    })
}

#[test]
fn the_managers_metrics_are_told_from_those_that_nobody_exposes() {
    assert!(is_the_managers("callgate_manager_ready") && is_the_managers("callgate_manager_busy_total"));
    assert!(is_the_managers("callgate_manager_commit_seconds"));
    assert!(!is_the_managers("callgate_manager_unready") && !is_the_managers("callgate_ready"));
}

/// The deadlines that the rule about refused calls watches.
#[test]
fn the_alert_of_a_near_deadline_watches_those_that_can_end_in_refused_calls_and_no_other() {
    let rules = include_str!("../../../../config/prometheus-alerts.yml");
    let rule = rules.split("- alert: ").find(|rule| rule.starts_with("CallgateLicenseDeadlineNear")).unwrap();
    let watched: BTreeSet<&str> =
        rule.split_once("deadline=~\"").unwrap().1.split_once('"').unwrap().0.split('|').collect();
    let harmless = ["registration_retry", "authorization_due", "id_renewal_due", "report_due"];
    let source = include_str!("../../license/status.rs");
    let known: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", ").map(|(name, _)| name))
        .chain(["evaluation_end"])
        .collect();
    let expected: BTreeSet<&str> = known.iter().copied().filter(|name| !harmless.contains(name)).collect();
    assert_eq!(watched, expected, "a new deadline belongs to the rule, or to the harmless ones");
    assert!(harmless.iter().all(|name| known.contains(name)));
}

#[test]
fn every_metric_that_the_dashboard_and_the_alert_rules_name_exists() {
    let exposed: BTreeSet<String> =
        render(sample()).lines().filter(|line| !line.starts_with('#')).flat_map(names_in).collect();
    let dashboard = include_str!("../../../../config/grafana-dashboard.json");
    let rules = include_str!("../../../../config/prometheus-alerts.yml");
    for (file, text) in [("grafana-dashboard.json", dashboard), ("prometheus-alerts.yml", rules)] {
        let named = names_in(text);
        assert!(named.len() > 10, "{file} names only {named:?}");
        let unknown: Vec<_> = named.difference(&exposed).filter(|name| !is_the_managers(name)).collect();
        assert!(unknown.is_empty(), "config/{file} names metrics that nobody exposes: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_json_whose_panels_do_not_overlap() {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../../config/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn every_alert_rule_says_what_to_do() {
    let rules = include_str!("../../../../config/prometheus-alerts.yml");
    let rules: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 15);
    for rule in rules {
        for part in ["expr:", "severity:", "summary:", "description:"] {
            assert!(rule.contains(part), "{} has no {part}", rule.lines().next().unwrap());
        }
    }
}
