use proptest::prelude::*;
use quick_xml::events::Event;

use super::*;
use crate::units::Tick;

const AT: UnixMillis = UnixMillis(1_800_000_000_000);

fn notice() -> Notice {
    Notice {
        aliases: vec!["30042".to_owned()],
        source: "udi pid:callgate,sn:4711".to_owned(),
        since: UnixMillis(1_799_990_000_000),
        what: "The license manager was not reached three times.".to_owned(),
        effect: "No call is refused.".to_owned(),
        next: "The authorization expires.".to_owned(),
        due: Some(UnixMillis(1_807_776_000_000)),
        remedy: "callgate license test-connection".to_owned(),
        attempts: vec![
            Attempt { at: UnixMillis(1_799_990_000_000), what: "ENTITLEMENT".to_owned(), failure: None },
            Attempt { at: AT, what: "ENTITLEMENT".to_owned(), failure: Some("TCP: refused".to_owned()) },
        ],
        attachments: vec![Attachment { command: "license summary".to_owned(), text: "a\n  b\n".to_owned() }],
        ..Notice::new(Level::Major, "REG_DOWN", Category::License, Change::Raised, AT)
    }
}

fn of(change: Change) -> Notice {
    Notice { change, ..notice() }
}

#[test]
fn each_format_says_what_since_effect_next_remedy_and_the_last_attempts() {
    insta::assert_snapshot!("short", notice().render(Format::Short));
    insta::assert_snapshot!("full", notice().render(Format::Full));
    insta::assert_snapshot!("xml", notice().render(Format::Xml));
    let json: serde_json::Value = serde_json::from_str(&notice().render(Format::Json)).unwrap();
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn what_was_cleared_or_flapped_is_seen_in_the_short_line() {
    let flapped = Notice { untold: 7, subject: "cps".to_owned(), ..of(Change::Cleared) };
    assert_eq!(
        flapped.render(Format::Short),
        "major REG_DOWN udi pid:callgate,sn:4711 cleared: (7 changes untold) cps: The license manager was not reached three times."
    );
}

#[test]
fn only_the_last_five_attempts_are_told() {
    let attempts = (0..9).map(|n| Attempt { at: AT, what: n.to_string(), failure: None }).collect();
    let told = Notice { attempts, ..notice() }.bounded().attempts;
    assert_eq!(told.iter().map(|attempt| attempt.what.as_str()).collect::<Vec<_>>(), ["4", "5", "6", "7", "8"]);
}

#[test]
fn a_filter_takes_by_severity_and_category_and_tests_always() {
    let filter = |level, categories: &[Category]| Filter { level, categories: categories.to_vec() };
    assert!(filter(Level::Major, &[]).takes(&notice()));
    assert!(!filter(Level::Critical, &[]).takes(&notice()));
    assert!(filter(Level::Critical, &[]).takes(&of(Change::Test)));
    assert!(!filter(Level::Info, &[Category::Admission]).takes(&notice()));
    let audit = Notice { category: Category::Audit, ..notice() };
    assert!(!filter(Level::Info, &[]).takes(&audit), "the daily business is asked for");
    assert!(filter(Level::Info, &[Category::Audit]).takes(&audit));
}

#[test]
fn the_schema_knows_every_severity_category_and_change_and_the_bounds() {
    let listed = |name: &str| assert!(XSD.contains(&format!("<xs:enumeration value=\"{name}\"/>")), "{name}");
    Level::ALL.iter().for_each(|level| listed(level.name()));
    Category::NAMES.iter().for_each(|name| listed(name));
    [Change::Raised, Change::Cleared, Change::Happened, Change::Test].iter().for_each(|change| listed(change.name()));
    assert!(XSD.contains(&format!("targetNamespace=\"{NAMESPACE}\"")));
    for bound in [NAME_CHARS_MAX, SENTENCE_CHARS_MAX, ATTACHMENT_CHARS_MAX] {
        assert!(XSD.contains(&format!("<xs:maxLength value=\"{bound}\"/>")), "{bound}");
    }
    for bound in [ALIASES_MAX, ATTEMPTS_MAX, ATTACHMENTS_MAX] {
        assert!(XSD.contains(&format!("maxOccurs=\"{bound}\"")), "{bound}");
    }
}

#[test]
fn a_flapping_alarm_is_told_twice_at_once_then_once_a_minute_with_a_count() {
    let mut damper = Damper::new(60_000);
    let mut told = Vec::new();
    for second in 0..300_u64 {
        let now = Tick::from_secs(1_000 + second);
        told.extend(damper.due(now).into_iter().map(|notice| (second, notice)));
        let change = if second % 2 == 0 { Change::Raised } else { Change::Cleared };
        told.extend(damper.offer(of(change), now).map(|notice| (second, notice)));
    }
    let seconds: Vec<u64> = told.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [0, 1, 60, 120, 180, 240]);
    let untold: Vec<u32> = told.iter().map(|(_, notice)| notice.untold).collect();
    // Between the second and the sixtieth, 58 changes: one is told, 57 are counted.
    assert_eq!(untold, [0, 0, 57, 59, 59, 59]);
}

#[test]
fn alarms_of_other_subjects_are_damped_apart_and_a_quiet_one_begins_anew() {
    let mut damper = Damper::new(60_000);
    let at = |second: u64| Tick::from_secs(1_000 + second);
    let cps = |change| Notice { subject: "cps".to_owned(), ..of(change) };
    for change in [Change::Raised, Change::Cleared] {
        assert!(damper.offer(of(change), at(0)).is_some());
        assert!(damper.offer(cps(change), at(0)).is_some());
    }
    assert!(damper.offer(of(Change::Raised), at(1)).is_none());
    assert_eq!(damper.held(), 1);
    assert!(damper.offer(of(Change::Test), at(1)).is_some() && damper.offer(of(Change::Happened), at(1)).is_some());
    assert_eq!(damper.due(at(60)).len(), 1);
    assert!(
        damper.offer(cps(Change::Raised), at(200)).is_some() && damper.offer(cps(Change::Cleared), at(200)).is_some()
    );
}

#[test]
fn without_an_interval_nothing_is_held_and_beyond_the_bound_nothing_is_lost() {
    let mut open = Damper::new(0);
    assert!((0..9).all(|_| open.offer(notice(), Tick::from_secs(1)).is_some()));
    let mut full = Damper::new(60_000);
    for subject in 0..DAMPED_MAX + 10 {
        let notice = || Notice { subject: subject.to_string(), ..notice() };
        assert!(full.offer(notice(), Tick::from_secs(1)).is_some());
        assert!(full.offer(notice(), Tick::from_secs(1)).is_some());
        assert_eq!(full.offer(notice(), Tick::from_secs(1)).is_some(), subject >= DAMPED_MAX, "{subject}");
    }
}

/// What a reader finds: the text of each element, by its path.
fn read_xml(text: &str) -> Vec<(String, String)> {
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut path, mut found, mut current) = (Vec::new(), Vec::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                path.push(start.name().as_ref().to_owned());
                current.clear();
            }
            Event::Text(text) => current.push_str(&text),
            Event::GeneralRef(entity) => {
                let named = format!("&{};", &*entity);
                current.push_str(&quick_xml::escape::unescape(&named).unwrap());
            }
            Event::End(_) => {
                found.push((path.join("/"), current.clone()));
                path.pop();
            }
            Event::Eof => return found,
            Event::Decl(_) => {}
            other @ (Event::Empty(_) | Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(any::<char>(), 0..400).prop_map(String::from_iter),
        Just("</what><id>x</id>&amp;<![CDATA[".to_owned()),
        Just("a\r\nBcc: x@example.com\0\u{202E}".to_owned()),
        "[<>&\"'\\]\\[]{0,5000}",
    ]
}

proptest! {
    #[test]
    fn whatever_the_texts_are_the_xml_reads_back_to_them(
        what in hostile(), source in hostile(), failure in hostile(), text in hostile()
    ) {
        let notice = Notice {
            what,
            source,
            attempts: vec![Attempt { at: AT, what: "x".to_owned(), failure: Some(failure) }],
            attachments: vec![Attachment { command: "y".to_owned(), text }],
            ..notice()
        };
        let expected = notice.bounded();
        let found = read_xml(&notice.render(Format::Xml));
        let one = |path: &str| {
            let all: Vec<&String> = found.iter().filter(|(at, _)| at == path).map(|(_, text)| text).collect();
            assert_eq!(all.len(), 1, "{path}");
            all[0].clone()
        };
        prop_assert_eq!(one("notice/what"), expected.what);
        prop_assert_eq!(one("notice/source"), expected.source);
        prop_assert_eq!(Some(one("notice/attempt/failure")), expected.attempts[0].failure.clone());
        prop_assert_eq!(one("notice/attachment/text"), expected.attachments[0].text.clone());
        prop_assert_eq!(one("notice/id"), "REG_DOWN");
    }

    #[test]
    fn a_short_line_is_one_line_within_its_bound_and_each_format_is_bounded(
        what in hostile(), source in hostile(), id in hostile(), subject in hostile()
    ) {
        let notice = Notice { what, source, id, subject, ..notice() };
        let line = notice.render(Format::Short);
        prop_assert!(line.chars().count() <= SHORT_CHARS_MAX && !line.chars().any(char::is_control), "{:?}", line);
        prop_assert!(line.starts_with("major "));
        let json: serde_json::Value = serde_json::from_str(&notice.render(Format::Json)).unwrap();
        prop_assert_eq!(json["what"].as_str().unwrap(), notice.bounded().what);
        prop_assert!(notice.bounded().what.chars().count() <= SENTENCE_CHARS_MAX);
        prop_assert_eq!(notice.bounded().bounded(), notice.bounded(), "what is clean stays");
        let full = notice.render(Format::Full);
        prop_assert_eq!(full.lines().count(), notice_lines(&notice), "no text begins a line of its own");
    }
}

/// How many lines the full text has: one for each row that isn't empty.
fn notice_lines(of: &Notice) -> usize {
    let notice = of.bounded();
    let rows = [&notice.source, &notice.subject, &notice.what].iter().filter(|text| !text.is_empty()).count();
    // Title, blank, category, since, at, effect, next, when, remedy, two attempts, blank, command and two lines of it.
    rows + 9 + 2 + 4
}
