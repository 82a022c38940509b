//! Use is what was observed, for as long as it is kept, whatever is asked of it and however it is stored.

use proptest::prelude::*;

use super::report::{Reported, tag_report};
use super::*;
use crate::license::agent::Requested;
use crate::license::ports::Counts;
use crate::license::{BuiltinProfile, Profile};

const T0: u64 = 1_700_000_000;

fn at(seconds: u64) -> UnixMillis {
    UnixMillis((T0 + seconds) * 1000)
}

/// A step of a history: so many seconds pass, then this happens.
#[derive(Debug, Clone)]
enum Step {
    Observe(u8, u32),
    Sample,
    Store,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let what = prop_oneof![
        6 => (0..3_u8, 0..50_u32).prop_map(|(tag, used)| Step::Observe(tag, used)),
        2 => Just(Step::Sample),
        1 => Just(Step::Store),
    ];
    (0..1200_u64, what)
}

/// The naive model: every sample as it should be.
#[derive(Default)]
struct Model {
    samples: Vec<(u8, u64, u32, u64)>,
    open: BTreeMap<u8, Vec<(u64, u32)>>,
}

impl Model {
    fn sample(&mut self, now: u64) {
        for (tag, observed) in std::mem::take(&mut self.open) {
            let peak = observed.iter().map(|(_, used)| *used).max().unwrap();
            let when = observed.iter().find(|(_, used)| *used == peak).unwrap().0;
            self.samples.push((tag, now, peak, when));
        }
    }

    fn interval(&self, tag: u8, from: u64, until: u64) -> Interval {
        let within: Vec<_> =
            self.samples.iter().filter(|(of, end, ..)| *of == tag && *end > from && *end <= until).collect();
        let peak = within.iter().map(|(_, _, peak, _)| *peak).max().unwrap_or(0);
        let mut peaks: Vec<u32> = within.iter().map(|(_, _, peak, _)| *peak).collect();
        peaks.sort_unstable();
        // The definition: the smallest value that at least 95 of 100 don't exceed.
        let p95 =
            peaks.iter().copied().find(|value| peaks.iter().filter(|p| *p <= value).count() * 100 >= peaks.len() * 95);
        Interval {
            peak,
            peak_at: within.iter().find(|(_, _, of, _)| *of == peak).map(|(.., when)| at(*when)),
            p95: p95.unwrap_or(0),
            samples: u64::try_from(peaks.len()).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn use_is_what_a_naive_model_says_over_any_history_interval_and_restart(
        steps in prop::collection::vec(step(), 1..120),
        asked in prop::collection::vec((0..3_u8, 0..80_000_u64, 0..80_000_u64), 1..8),
    ) {
        let (mut usage, mut model, mut now) = (Usage::default(), Model::default(), 0);
        for (passed, what) in steps {
            now += passed;
            match what {
                Step::Observe(tag, used) => {
                    usage.observe(&format!("tag{tag}"), used / 2, used, at(now));
                    model.open.entry(tag).or_default().push((now, used));
                    prop_assert_eq!(usage.current(&format!("tag{tag}")), used / 2);
                }
                Step::Sample => {
                    let closed = usage.sample(at(now));
                    let before = model.samples.len();
                    model.sample(now);
                    prop_assert_eq!(closed.len(), model.samples.len() - before);
                }
                Step::Store => usage = Usage::decode(&usage.encode()).unwrap(),
            }
        }
        for (tag, a, b) in asked {
            let (from, until) = (a.min(b), a.max(b));
            prop_assert_eq!(usage.interval(&format!("tag{tag}"), at(from), at(until)), model.interval(tag, from, until));
        }
    }

    #[test]
    fn a_store_that_was_cut_or_changed_at_any_byte_is_refused(byte in 0..200_usize, bit in 0..8_u8) {
        let mut usage = Usage::default();
        for minute in 0..12 {
            usage.observe("open.cps", minute, minute, at(u64::from(minute) * 60));
            usage.sample(at(u64::from(minute) * 60));
        }
        let bytes = usage.encode();
        let place = byte % bytes.len();
        prop_assert!(Usage::decode(&bytes[..place]).is_err());
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << bit;
        prop_assert!(Usage::decode(&flipped).is_err());
        prop_assert_eq!(Usage::decode(&bytes).unwrap(), { let mut kept = usage; kept.tags.get_mut("open.cps").unwrap().current = None; kept });
    }
}

#[test]
fn a_year_of_samples_is_kept_and_the_oldest_goes_first() {
    let mut usage = Usage::default();
    for number in 0..=35_040_u32 {
        usage.observe("t", number, number, at(u64::from(number) * SAMPLE_S + 1));
        usage.sample(at(u64::from(number + 1) * SAMPLE_S));
    }
    let all = usage.interval("t", UnixMillis(0), UnixMillis(u64::MAX));
    assert_eq!((all.samples, all.peak), (35_040, 35_040));
    assert_eq!(usage.rows().next().unwrap().peak, 1, "the first of 35 041 is gone");
    assert_eq!(usage.encode().len(), 5 + 2 + (1 + 1 + 9 + 4) + 35_040 * 10 + 17 + 8);
    assert_eq!(Usage::decode(&usage.encode()).unwrap().rows().count(), 35_040);
}

#[test]
fn further_tags_are_dropped_and_counted() {
    let mut usage = Usage::default();
    for number in 0..TAGS_MAX + 3 {
        usage.observe(&format!("t{number}"), 1, 1, at(0));
    }
    usage.observe(&"x".repeat(300), 1, 1, at(0));
    assert_eq!((usage.tags().count(), usage.dropped()), (TAGS_MAX, 4));
    usage.forget("t0");
    usage.observe("new", 7, 7, at(1));
    assert_eq!(usage.current("new"), 7);
}

#[test]
fn stored_bytes_that_claim_too_much_are_refused_before_anything_is_reserved() {
    let claim = |mut body: Vec<u8>| {
        let mut bytes = b"CGU1\x01".to_vec();
        bytes.append(&mut body);
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Usage::decode(&bytes).unwrap_err()
    };
    assert_eq!(claim(vec![0xff, 0xff]), BadUsage::Content("too many tags"));
    let samples = |count: u32| [&[1, 0, 1, b't', 0][..], &[0; 8], &count.to_le_bytes()].concat();
    assert_eq!(claim(samples(u32::MAX)), BadUsage::Content("more samples than a year has"));
    assert!(matches!(claim(samples(35_040)), BadUsage::Length { .. }));
    let later = Usage::decode(b"CGU1\x02............").unwrap_err();
    assert_eq!(later.to_string(), "usage data: found format [67, 71, 85, 49, 2]; accepted: \"CGU1\", version 1");
}

#[test]
fn a_days_count_of_capacity_is_kept_with_the_samples() {
    let counts = Counts { essential: 14, advanced: 3, systems: 2 };
    let usage = Usage { capacity: Some(DailyCount { day: 19_000, counts }), ..Usage::default() };
    assert_eq!(Usage::decode(&usage.encode()).unwrap(), usage);
}

#[test]
fn rows_are_csv_and_json_lines_and_no_formula_reaches_a_spreadsheet() {
    let mut usage = Usage::default();
    usage.observe("=cmd,\"x\"", 1, 3, at(10));
    usage.sample(at(900));
    assert_eq!(
        csv(usage.rows()),
        "tag,ended_at,peak,peak_at\r\n\"'=cmd,\"\"x\"\"\",2023-11-14T22:28:20Z,3,2023-11-14T22:13:30Z\r\n"
    );
    assert_eq!(
        json_lines(usage.rows()),
        "{\"tag\":\"=cmd,\\\"x\\\"\",\"ended_at\":1700000900000,\"peak\":3,\"peak_at\":1700000010000}\n"
    );
}

fn reported(builtin: BuiltinProfile, units: Option<u32>, per_license: u32, installed: Option<u64>) -> [Option<u64>; 4] {
    let profile = Profile::builtin(builtin).unwrap();
    let mut usage = Usage::default();
    for (second, used) in [(10, 20), (20, 61), (30, 7)] {
        usage.observe("t", used, used, at(second));
    }
    usage.sample(at(900));
    usage.observe("t", 12, 12, at(910));
    let requested = Requested { type_name: "x".to_owned(), tag: "t".to_owned(), units, per_license, tier: None };
    let of = Reported { requested: &requested, installed, next_units: Some(30), from: at(0), until: at(900) };
    let report = tag_report(&usage, &profile, of);
    assert_eq!((report.peak_at, report.samples), (Some(at(20)), 1));
    [Some(report.requested), Some(report.reported), Some(report.observed_peak), report.next]
}

#[test]
fn each_profile_reports_what_its_guide_says() {
    assert_eq!(reported(BuiltinProfile::Cccsp, Some(100), 5, None), [Some(20), Some(20), Some(13), None], "requested");
    assert_eq!(reported(BuiltinProfile::Cusp, Some(100), 5, None), [Some(20), Some(20), Some(13), None], "requested");
    assert_eq!(reported(BuiltinProfile::Open, Some(100), 5, None), [Some(20), Some(13), Some(13), None], "peak");
    assert_eq!(reported(BuiltinProfile::Ccx, Some(40), 1, None), [Some(40), Some(61), Some(61), None], "peak");
    assert_eq!(
        reported(BuiltinProfile::Ncs540, None, 1, None),
        [Some(12), Some(12), Some(61), Some(30)],
        "current and next"
    );
}

#[test]
fn reported_use_is_capped_at_what_is_installed_and_what_was_observed_stands_beside_it() {
    assert_eq!(reported(BuiltinProfile::Expressway, None, 1, Some(10)), [Some(12), Some(10), Some(61), None]);
    assert_eq!(reported(BuiltinProfile::Expressway, None, 1, Some(20)), [Some(12), Some(12), Some(61), None]);
    assert_eq!(reported(BuiltinProfile::Ccx, None, 1, Some(10))[1], Some(61), "no other profile caps");
}

#[test]
fn what_is_lent_is_reported_by_the_lender_and_what_is_borrowed_is_no_over_use() {
    let profile = Profile::builtin(BuiltinProfile::Open).unwrap();
    let mut usage = Usage::default();
    usage.observe("t", 70, 70, at(10));
    usage.count_loans("t", 23, 15);
    usage.count_loans("t", 23, 5);
    let closed = usage.sample(at(900));
    assert_eq!((closed[0].peak, closed[0].borrowed), (70, 15), "the most that was borrowed at once");
    let requested =
        Requested { type_name: "x".to_owned(), tag: "t".to_owned(), units: Some(50), per_license: 5, tier: None };
    let of = Reported { requested: &requested, installed: Some(10), next_units: None, from: at(0), until: at(900) };
    assert_eq!(tag_report(&usage, &profile, of).lent_used, 5, "whole licenses");
    usage.observe("t", 70, 70, at(910));
    assert_eq!(usage.sample(at(1800))[0].borrowed, 0, "the loans of a sample are its own");
}
