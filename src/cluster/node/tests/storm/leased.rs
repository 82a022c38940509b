//! Self-lease (10-H): a majority keeps what a node does without that is cut off, and nothing is used twice.

use proptest::prelude::*;

use super::*;
use crate::cluster::rules::Rule;

fn settled(rules: Rules, params: Parameters) -> Storm {
    let mut storm = Storm::new(3, 7, rules, params);
    storm.run(4000);
    storm
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_together_never_use_more_hard_units_than_all_hold(seed in any::<u64>(), count in 3..=5_usize) {
        let mut storm = Storm::new(count, seed, Rules::default(), params());
        storm.loss_percent = 3;
        storm.run(2000);
        for _ in 0..25 {
            storm.blow();
            let pause = storm.below(3000);
            storm.run(u64::try_from(pause).unwrap());
        }
    }
}

#[test]
fn a_node_that_a_majority_hears_uses_and_lends_what_it_holds() {
    let mut storm = settled(Rules::default(), params());
    for place in 0..3 {
        storm.members[place].wants = [HOME, HOME * 5];
    }
    storm.run(5000);
    for place in 0..3 {
        assert_eq!(storm.members[place].load.live, HOME, "{place}");
        assert_eq!(storm.limit(place, RATE), HOME * 5, "{place}");
    }
    for place in 1..3 {
        storm.members[place].wants = [0, 0];
    }
    storm.members[0].wants = [50, 50 * 5];
    storm.run(15_000);
    assert!(storm.members[0].load.live >= 45, "{}", storm.members[0].load.live);
}

#[test]
fn a_node_that_is_cut_off_has_its_floor_and_the_majority_keeps_the_rest_of_it() {
    let mut storm = settled(Rules::default(), params());
    storm.members[2].wants = [4, 4 * 5];
    storm.run(3000);
    storm.isolate(2);
    storm.run(1000);
    assert_eq!(storm.limit(2, RATE), HOME * 5, "its lease still runs");
    storm.run(2000);
    assert!(storm.limit(2, RATE) < HOME * 5, "it is over");
    storm.members[0].wants = [80, 80 * 5];
    storm.members[2].wants = [HOME, HOME * 5];
    storm.run(25_000);
    let floors = [storm.limit(2, CALLS), storm.limit(2, RATE)];
    assert!(floors[0] >= 4 && floors[0] < HOME, "{floors:?}");
    assert_eq!(storm.members[0].load.live, 3 * HOME - floors[0], "all that the one cut off does without");
    assert!(storm.limit(0, RATE) + storm.limit(1, RATE) > 2 * HOME * 5, "of the rate as well");
    // Back: what is in use of it is waited for, the rest is its own again.
    storm.cut.clear();
    storm.run(15_000);
    assert!(storm.members[2].load.live >= floors[0]);
    storm.members[0].wants = [HOME, 5];
    storm.members[2].wants = [HOME, HOME * 5];
    storm.run(20_000);
    assert_eq!(storm.members[2].load.live, HOME);
    assert!(storm.limit(2, RATE) >= HOME * 5);
}

#[test]
fn without_a_majority_nothing_is_kept_of_anybody() {
    let mut storm = settled(Rules::default(), params());
    storm.isolate(0);
    storm.isolate(1);
    storm.isolate(2);
    for place in 0..3 {
        storm.members[place].wants = [HOME, HOME * 5];
    }
    storm.run(25_000);
    for place in 0..3 {
        assert!(storm.limit(place, CALLS) < HOME && storm.limit(place, CALLS) >= FIXED, "{place}");
        assert!(storm.limit(place, RATE) < HOME * 5, "{place}");
    }
}

#[test]
fn nothing_is_kept_of_a_node_beyond_the_end_of_its_grant() {
    let mut storm = settled(Rules::default(), params());
    storm.grant_ms = Some(20_000);
    storm.grant(2, 1, HOME);
    storm.run(2000);
    storm.isolate(2);
    storm.members[0].wants = [0, 80 * 5];
    storm.run(14_000);
    let both = |storm: &Storm| storm.limit(0, RATE) + storm.limit(1, RATE);
    assert!(both(&storm) > 2 * HOME * 5, "{}", both(&storm));
    storm.run(6000);
    assert_eq!(both(&storm), 2 * HOME * 5, "the backend may have given them to others");
    assert_eq!(storm.limit(2, CALLS), FIXED);
}

#[test]
fn a_smaller_grant_is_acknowledged_when_the_majority_no_longer_takes_the_rest_for_spare() {
    let mut storm = settled(Rules::default(), params());
    storm.isolate(2);
    storm.run(3000);
    storm.grant(2, 2, 6);
    storm.run(10_000);
    let home = |storm: &Storm| {
        let id = hard()[RATE.0].id.clone();
        match storm.members[2].disk.records.get(&Key::Home(id)) {
            Some(Record::Home { home, .. }) => home.0,
            _ => 0,
        }
    };
    assert_eq!(home(&storm), HOME, "a majority may keep more than that of it");
    storm.cut.clear();
    storm.run(25_000);
    assert_eq!(home(&storm), 6);
}

/// A node that membership holds for lost, though its streams work: it is heard, and voted against.
fn heard_and_lost(rules: Rules) -> Storm {
    let mut storm = settled(rules, params());
    storm.members[2].wants = [0, HOME * 5];
    storm.members[0].wants = [0, 80 * 5];
    storm.run(2000);
    storm.deaf.extend([(2, 0), (0, 2), (2, 1), (1, 2)]);
    storm.run(25_000);
    storm
}

#[test]
fn who_was_heard_a_moment_ago_is_voted_against_by_nobody() {
    let storm = heard_and_lost(Rules::default());
    assert!(storm.members[0].told.contains(&Event::PeerLost { node: name("n2") }));
    assert!(storm.limit(2, RATE) >= HOME * 5, "it is heard all the time");
}

#[test]
#[should_panic(expected = "and all hold")]
fn without_the_wait_units_are_kept_that_their_owner_still_uses() {
    heard_and_lost(Rules::without(Rule::SelfLeaseWaits));
}

#[test]
fn switched_off_again_a_node_gets_back_what_others_took_for_spare_and_not_before_a_majority_heard_so() {
    let mut storm = settled(Rules::default(), params());
    storm.isolate(2);
    storm.run(1000);
    storm.crash(2);
    storm.params.self_lease = false;
    storm.start(2);
    storm.members[2].wants = [HOME, 0];
    storm.members[0].wants = [80, 0];
    storm.run(25_000);
    assert!(storm.limit(2, CALLS) < HOME, "the others may still keep it");
    assert!(storm.members[0].load.live > 2 * HOME);
    storm.members[0].wants = [HOME, 0];
    storm.cut.clear();
    storm.run(25_000);
    assert_eq!(storm.members[2].load.live, HOME);
    let empty = Record::OwnSpare { spare: Vec::new() };
    assert_eq!(storm.members[2].disk.records.get(&Key::OwnSpare), Some(&empty));
}
