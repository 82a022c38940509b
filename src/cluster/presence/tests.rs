#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about, and at nothing else")]

use super::*;
use crate::cluster::ids::Epoch;
use crate::cluster::resource::{Class, Kind};

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn cps() -> ResourceId {
    ResourceId { name: "cps".into(), kind: Kind::Rate, class: Class::License }
}

fn presence(node: &str, peers: &[&str]) -> Presence {
    let setup = Setup {
        node: name(node),
        ledger: LedgerId(u128::from(node.as_bytes()[0])),
        inc: Incarnation(1),
        peers: peers.iter().map(|peer| name(peer)).collect(),
        resources: vec![cps()],
        params: Parameters::default(),
        seed: 3,
    };
    Presence::new(setup, Tick::from_secs(10))
}

fn hello(node: &str, ledger: u128, inc: u64) -> Hello {
    Hello {
        proto_min: 1,
        proto_max: 1,
        node: name(node),
        ledger: LedgerId(ledger),
        inc: Incarnation(inc),
        life: u64::try_from(ledger).unwrap() * 1000 + inc,
        asks: false,
        resources: vec![cps()],
    }
}

fn of(used: u32, surplus: u32) -> HintOf {
    HintOf {
        resource: cps(),
        epoch: Epoch(1),
        home: Licenses(100),
        used,
        free: 10,
        surplus: Licenses(surplus),
        demand: 0,
        starving: false,
    }
}

fn hint(node: &str, stamp: u64, surplus: u32) -> Hint {
    Hint { node: name(node), inc: Incarnation(1), stamp, of: vec![of(7, surplus)] }
}

fn datagram(hint: Hint) -> Vec<u8> {
    encode_datagram(&Datagram::Hint(hint)).unwrap()
}

fn news(presence: &mut Presence) -> Vec<News> {
    std::iter::from_fn(|| presence.poll()).collect()
}

fn events(presence: &mut Presence) -> Vec<Event> {
    news(presence)
        .into_iter()
        .filter_map(|news| match news {
            News::Do(Action::Tell(event)) => Some(event),
            _ => None,
        })
        .collect()
}

const T: Tick = Tick::from_secs(10);

#[test]
fn the_first_word_on_a_connection_is_who_this_node_is() {
    let mut a = presence("a", &["b"]);
    a.handle_connected(&name("b"), T);
    let first = a.poll();
    let Some(News::Do(Action::Send { to, message: Message::Hello(hello) })) = first else { panic!("{first:?}") };
    assert_eq!((to, hello.node, hello.resources), (name("b"), name("a"), vec![cps()]));
}

#[test]
fn who_has_not_said_who_it_is_is_asked_until_it_does_and_answers_when_asked() {
    let mut a = presence("a", &["b"]);
    let said = |presence: &mut Presence| {
        news(presence)
            .into_iter()
            .filter_map(|news| match news {
                News::Do(Action::Send { message: Message::Hello(hello), .. }) => Some(hello.asks),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    a.handle_connected(&name("b"), T);
    assert_eq!(said(&mut a), [true]);
    assert!(a.poll_timeout().is_some_and(|due| due <= T.plus_secs(1)));
    a.handle_timeout(T.plus_secs(1));
    assert_eq!(said(&mut a), [true], "the first may have been lost");
    a.handle_hello(&name("b"), Hello { asks: true, ..hello("b", 2, 1) }, T.plus_secs(2));
    assert_eq!(said(&mut a), [false]);
    a.handle_hello(&name("b"), hello("b", 2, 1), T.plus_secs(3));
    a.handle_timeout(T.plus_secs(4));
    assert_eq!(said(&mut a), Vec::<bool>::new(), "both know: silence");
    a.handle_disconnected(&name("b"));
    a.handle_timeout(T.plus_secs(9));
    assert_eq!(said(&mut a), Vec::<bool>::new());
}

#[test]
fn what_both_name_alike_is_shared_and_nothing_else() {
    let mut a = presence("a", &["b"]);
    assert_eq!(a.refusal(&name("b")), Some(Refused::Unknown));
    assert!(!a.shares(&name("b"), &cps()));
    a.handle_hello(&name("b"), hello("b", 2, 1), T);
    assert!(a.shares(&name("b"), &cps()));
    assert!(!a.shares(&name("b"), &ResourceId { class: Class::Hard, ..cps() }));
    assert!(!a.shares(&name("b"), &ResourceId { kind: Kind::Session, ..cps() }));
}

#[test]
fn a_hello_under_another_name_than_its_certificates_counts_for_nothing() {
    let mut a = presence("a", &["b", "c"]);
    a.handle_hello(&name("c"), hello("b", 2, 1), T);
    assert_eq!(a.refusal(&name("b")), Some(Refused::Unknown));
    assert_eq!(a.refusal(&name("c")), Some(Refused::Unknown));
    assert_eq!(a.ignored().map(|(_, count)| count).sum::<u64>(), 1);
}

#[test]
fn a_peer_of_another_version_is_named_and_keeps_what_it_has() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), Hello { proto_min: 2, proto_max: 4, ..hello("b", 2, 1) }, T);
    assert_eq!(a.refusal(&name("b")), Some(Refused::OtherVersion));
    let told = Event::OtherVersion { node: name("b"), found: [2, 4], accepted: [1, 1] };
    assert_eq!(events(&mut a), [told]);
    a.handle_hello(&name("b"), Hello { proto_min: 2, proto_max: 4, ..hello("b", 2, 1) }, T);
    assert_eq!(events(&mut a), [], "told once");
    a.handle_hello(&name("b"), Hello { proto_min: 0, proto_max: 9, ..hello("b", 2, 2) }, T);
    assert_eq!(a.refusal(&name("b")), None);
}

#[test]
fn a_ledger_that_went_back_is_refused_and_told() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T);
    a.handle_hello(&name("b"), hello("b", 2, 4), T);
    assert_eq!(a.refusal(&name("b")), Some(Refused::LedgerWentBack));
    let told =
        Event::LedgerWentBack { node: name("b"), ledger: LedgerId(2), seen: Incarnation(5), found: Incarnation(4) };
    assert_eq!(events(&mut a), [told]);
    a.handle_hello(&name("b"), hello("b", 2, 6), T);
    assert_eq!(a.refusal(&name("b")), None, "once it is past what was seen, nothing of it can be mistaken");
}

#[test]
fn one_incarnation_in_two_processes_is_a_copied_ledger() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T);
    a.handle_hello(&name("b"), Hello { life: 77, ..hello("b", 2, 5) }, T);
    assert_eq!(a.refusal(&name("b")), Some(Refused::LedgerUsedTwice));
    let told = Event::LedgerUsedTwice { ledger: LedgerId(2), nodes: [name("b"), name("b")] };
    assert_eq!(events(&mut a), [told]);
}

#[test]
fn a_ledger_under_two_names_is_a_copied_ledger() {
    let mut a = presence("a", &["b", "c"]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T);
    a.handle_hello(&name("c"), hello("c", 2, 5), T);
    assert_eq!(a.refusal(&name("b")), None);
    assert_eq!(a.refusal(&name("c")), Some(Refused::LedgerUsedTwice));
    let told = Event::LedgerUsedTwice { ledger: LedgerId(2), nodes: [name("b"), name("c")] };
    assert_eq!(events(&mut a), [told]);
    a.handle_hello(&name("b"), hello("b", u128::from(b'a'), 1), T);
    assert!(
        matches!(&events(&mut a)[..], [Event::LedgerUsedTwice { nodes, .. }] if nodes[0] == name("a")),
        "its own too"
    );
}

#[test]
fn a_name_used_twice_is_refused_and_told_as_long_as_both_live() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T);
    a.handle_hello(&name("b"), hello("b", 3, 1), T.plus_secs(1));
    assert!(a.shares(&name("b"), &cps()), "the one that was known goes on");
    a.handle_datagram(&name("b"), &datagram(Hint { inc: Incarnation(5), ..hint("b", 1, 1) }), T.plus_secs(3));
    assert_eq!(a.refusal(&name("b")), Some(Refused::NameUsedTwice));
    let told = Event::NameUsedTwice { node: name("b"), ledgers: [LedgerId(2), LedgerId(3)] };
    assert_eq!(events(&mut a), [told]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T.plus_secs(4));
    assert_eq!(a.refusal(&name("b")), Some(Refused::NameUsedTwice), "saying it again changes nothing");
    a.handle_timeout(T.plus_secs(30));
    assert_eq!(a.refusal(&name("b")), None, "one fell silent: the other has the name");
    assert_eq!(a.life_of(&name("b")), Some((LedgerId(3), Incarnation(1))));
}

#[test]
fn a_new_ledger_takes_over_a_name_when_the_one_before_fell_silent() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 5), T);
    a.handle_hello(&name("b"), hello("b", 3, 1), T.plus_secs(1));
    assert_eq!(a.life_of(&name("b")), Some((LedgerId(2), Incarnation(5))));
    news(&mut a);
    let due = a.greetings.next_claim().unwrap();
    a.handle_timeout(due);
    let replaced = Event::Replaced { node: name("b"), before: LedgerId(2), now: LedgerId(3) };
    let told = news(&mut a);
    assert!(told.contains(&News::Greeted(name("b"), Greeting::NewLedger)));
    assert!(told.contains(&News::Do(Action::Tell(replaced))));
    assert!(a.shares(&name("b"), &cps()));
}

#[test]
fn the_newest_hint_counts_and_an_old_one_no_more() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 1), T);
    a.handle_datagram(&name("b"), &datagram(hint("b", 5, 3)), T);
    a.handle_datagram(&name("b"), &datagram(hint("b", 4, 9)), T);
    a.handle_datagram(&name("b"), &datagram(hint("b", 5, 9)), T);
    assert_eq!(a.with_surplus(&cps(), T), [(name("b"), Licenses(3))]);
    assert_eq!(a.hint_sum(&cps(), T).used, 7);
    assert_eq!(a.with_surplus(&cps(), T.plus_secs(2)).len(), 1);
    assert_eq!(a.with_surplus(&cps(), T.plus_secs(4)), [], "aged out");
    let ignored: BTreeMap<_, _> = a.ignored().collect();
    assert_eq!(ignored["a hint older than one seen"], 2);
}

#[test]
fn a_hint_under_another_name_counts_for_nothing() {
    let mut a = presence("a", &["b", "c"]);
    a.handle_hello(&name("b"), hello("b", 2, 1), T);
    a.handle_datagram(&name("c"), &datagram(hint("b", 5, 3)), T);
    assert_eq!(a.with_surplus(&cps(), T), []);
}

#[test]
fn a_peer_that_lies_about_its_usage_is_believed_up_to_a_bound() {
    let mut a = presence("a", &["b"]);
    a.handle_hello(&name("b"), hello("b", 2, 1), T);
    let lie =
        HintOf { home: Licenses(u32::MAX), used: u32::MAX, free: u32::MAX, surplus: Licenses(u32::MAX), ..of(0, 0) };
    a.handle_datagram(&name("b"), &datagram(Hint { of: vec![lie], ..hint("b", 5, 3) }), T);
    let sum = a.hint_sum(&cps(), T);
    assert!(sum.home <= 10_000_000 && sum.used <= 50_000_000 && sum.surplus <= sum.home, "{sum:?}");
    let lie = HintOf { home: Licenses(3), surplus: Licenses(50), ..of(0, 0) };
    a.handle_datagram(&name("b"), &datagram(Hint { of: vec![lie], ..hint("b", 6, 3) }), T);
    assert_eq!(a.with_surplus(&cps(), T), [(name("b"), Licenses(3))], "never more than its home");
}

#[test]
fn a_flood_of_garbage_is_counted_each_and_told_once_a_second() {
    let mut a = presence("a", &["b"]);
    for round in 0..5000_u64 {
        a.handle_datagram(&name("b"), &[9, 9, 9], T.plus_millis(round));
    }
    assert_eq!(a.ignored().collect::<Vec<_>>(), [("unknown version", 5000)]);
    assert_eq!(events(&mut a).len(), 5);
}

/// Two nodes, their datagrams carried over at once.
fn meet(nodes: &mut [Presence], now: Tick) -> Vec<(NodeName, Hint)> {
    let mut heard = Vec::new();
    for _ in 0..20 {
        let mut frames = Vec::new();
        for node in nodes.iter_mut() {
            let from = node.setup.node.clone();
            while let Some(news) = node.poll() {
                match news {
                    News::Do(Action::Gossip { to, bytes }) => frames.push((from.clone(), to, bytes)),
                    News::Hint(hint) => heard.push((from.clone(), hint)),
                    _ => {}
                }
            }
        }
        for (from, to, bytes) in frames {
            if let Some(node) = nodes.iter_mut().find(|node| node.setup.node == to) {
                node.handle_datagram(&from, &bytes, now);
            }
        }
    }
    heard
}

#[test]
fn hints_go_to_all_in_a_mesh_and_to_a_few_beyond() {
    for (count, expected) in [(5_usize, 4_usize), (40, 3)] {
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let mut nodes: Vec<Presence> = names.iter().map(|node| presence(node, &["n0"])).collect();
        let mut now = T;
        for _ in 0..300 {
            for node in &mut nodes {
                node.handle_timeout(now);
            }
            meet(&mut nodes, now);
            now = now.plus_millis(20);
        }
        assert_eq!(nodes[1].members.active_count(), count - 1);
        nodes[1].gossip(&[of(1, 1)], now);
        let sent = news(&mut nodes[1]).iter().filter(|news| matches!(news, News::Do(Action::Gossip { .. }))).count();
        assert_eq!(sent, expected);
        assert_eq!(nodes[1].poll_timeout().unwrap().max(now.plus_millis(100)), now.plus_millis(100));
    }
}

#[test]
fn a_hint_of_more_resources_than_a_datagram_holds_goes_in_several_and_arrives_whole() {
    let mut nodes = [presence("a", &["b"]), presence("b", &["a"])];
    for step in 0..100 {
        let now = T.plus_millis(step * 20);
        for node in &mut nodes {
            node.handle_timeout(now);
        }
        meet(&mut nodes, now);
    }
    let many: Vec<HintOf> = (0..60)
        .map(|n| HintOf {
            resource: ResourceId { name: format!("{n:0>60}").into(), kind: Kind::Session, class: Class::License },
            ..of(n, 1)
        })
        .collect();
    nodes[0].gossip(&many, T.plus_secs(3));
    let heard = meet(&mut nodes, T.plus_secs(3));
    let arrived: Vec<HintOf> = heard.into_iter().flat_map(|(_, hint)| hint.of).collect();
    assert_eq!(arrived, many);
}

#[test]
fn who_never_came_is_silent_since_the_start_and_who_went_since_it_went() {
    let mut a = presence("a", &["b", "c"]);
    assert_eq!(a.silent_since(&name("b")), Some(T));
    let mut nodes = [presence("a", &["b", "c"]), presence("b", &["a"])];
    for step in 0..100 {
        let now = T.plus_millis(step * 20);
        for node in &mut nodes {
            node.handle_timeout(now);
        }
        meet(&mut nodes, now);
    }
    assert_eq!(nodes[0].silent_since(&name("b")), None);
    assert_eq!(nodes[0].silent_since(&name("c")), Some(T));
    assert!(nodes[0].reachable().any(|node| *node == name("b")));
    nodes[1].leave(T.plus_secs(5));
    meet(&mut nodes, T.plus_secs(5));
    assert_eq!(nodes[0].silent_since(&name("b")), Some(T.plus_secs(5)));
    assert!(!nodes[0].reachable().any(|node| *node == name("b")));
    news(&mut a);
}
