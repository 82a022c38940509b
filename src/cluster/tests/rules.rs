//! One rule at a time: node 0 is real, the test speaks for node 1.

use super::world::{MS, World, rate, session};
use crate::cluster::ledger::Key;
use crate::cluster::*;
use crate::units::Tick;

/// Node 0 alone, with so many licenses at home, its first writes done.
pub(super) fn alone(home: u32, resource: Resource) -> World {
    let mut world = World::new(&[home, 0], vec![resource], Rules::default());
    world.start(0);
    world.persist(0);
    world.wire.clear();
    world
}

pub(super) fn resource_of(world: &World) -> ResourceId {
    world.resources[0].id.clone()
}

/// A request of node 1; what node 0 says to that, with the disk answering at once if `durable`.
pub(super) fn request(
    world: &mut World,
    lives: (u64, u64),
    hold: u32,
    seen: u64,
    want: u32,
    durable: bool,
) -> Vec<Lend> {
    let req = Req {
        resource: resource_of(world),
        binc: Incarnation(lives.0),
        linc: Incarnation(lives.1),
        anchor: Anchor(world.now),
        hold: Licenses(hold),
        seen: Seq(seen),
        want: Licenses(want),
    };
    world.say(1, 0, Message::Req(req));
    if durable {
        world.settle_disk(0);
    }
    lends(world)
}

/// Takes what node 0 said as a lender.
fn lends(world: &mut World) -> Vec<Lend> {
    world
        .said()
        .into_iter()
        .filter_map(|message| if let Message::Lend(lend) = message { Some(lend) } else { None })
        .collect()
}

/// Takes what node 0 said as a borrower.
pub(super) fn reqs(world: &mut World) -> Vec<Req> {
    world
        .said()
        .into_iter()
        .filter_map(|message| if let Message::Req(req) = message { Some(req) } else { None })
        .collect()
}

/// A word of node 1 as the lender.
fn lend(world: &World, linc: u64, seq: u64, k: u32, anchor: Option<Anchor>, term_ms: u32) -> Message {
    let (resource, binc) = (resource_of(world), Incarnation(1));
    let (linc, seq, k) = (Incarnation(linc), Seq(seq), Licenses(k));
    Message::Lend(Lend { resource, epoch: Epoch(1), linc, binc, seq, k, anchor, term_ms })
}

/// Node 0 uses all that it has and asks for more: its request.
fn asks(world: &mut World) -> Req {
    for _ in 0..400 {
        world.offer(0, 0);
        world.run(1, 1_000_000);
        if let Some(req) = reqs(world).into_iter().find(|req| req.want > req.hold) {
            return req;
        }
    }
    panic!("it never asked");
}

/// Node 0 holds `k` licenses of node 1, with a term of two seconds if it is a rate.
pub(super) fn borrower(home: u32, resource: Resource, k: u32) -> World {
    let mut world = alone(home, resource);
    let req = asks(&mut world);
    let word = lend(&world, 5, 7, k, Some(req.anchor), 2000);
    world.say(1, 0, word);
    world.said();
    world
}

fn used(world: &mut World) -> u32 {
    let now = world.local(0);
    world.node(0).desks.used(ResourceIndex(0), now).used
}

// --- the lender ------------------------------------------------------------------------------------------------------

#[test]
fn l1_a_request_of_an_earlier_life_counts_for_nothing() {
    let mut world = alone(20, rate(Class::License));
    assert_eq!(request(&mut world, (2, 1), 0, 0, 4, true).pop().unwrap().k, Licenses(4));
    assert_eq!(request(&mut world, (1, 1), 0, 1, 9, true), []);
    assert_eq!(world.limit(0, 0), 80);
}

#[test]
fn l1_what_a_borrower_of_a_rate_held_before_it_restarted_rests_for_a_window() {
    let mut world = alone(20, rate(Class::License));
    request(&mut world, (1, 1), 0, 0, 4, true);
    request(&mut world, (2, 0), 0, 0, 0, true);
    assert_eq!(world.limit(0, 0), 80);
    world.run(990, 1);
    assert_eq!(world.limit(0, 0), 80);
    world.run(30, 1);
    assert_eq!(world.limit(0, 0), 100);
}

#[test]
fn l2_a_borrower_that_has_not_seen_the_newest_word_is_not_believed() {
    for resource in [rate(Class::License), session(Class::Hard)] {
        let mut world = alone(20, resource);
        let whole = world.limit(0, 0);
        let word = request(&mut world, (1, 1), 0, 0, 4, true).pop().unwrap();
        request(&mut world, (1, 1), 0, word.seq.0 - 1, 0, true);
        assert!(world.limit(0, 0) < whole);
        request(&mut world, (1, 0), 0, word.seq.0, 0, true);
        assert!(world.limit(0, 0) < whole, "it spoke of another life of the lender");
        let answer = request(&mut world, (1, 1), 0, word.seq.0, 0, true).pop().unwrap();
        assert_eq!((answer.k, answer.seq), (Licenses(0), word.seq), "else the borrower asks for ever (B7)");
        assert_eq!(world.limit(0, 0), whole);
    }
}

#[test]
fn l3_headroom_and_what_is_in_use_are_never_lent() {
    let mut world = alone(20, Resource { headroom: 40, ..rate(Class::License) });
    for _ in 0..30 {
        assert!(world.offer(0, 0));
    }
    let lent = request(&mut world, (1, 1), 0, 0, 20, true).pop().unwrap().k.0 * 5;
    assert!(lent > 0 && lent + 40 + 30 <= 100, "{lent} units were lent");
}

#[test]
fn l3_only_home_units_are_lent() {
    let mut world = borrower(2, session(Class::Hard), 8);
    while used(&mut world) > 0 {
        world.end(0, 0);
    }
    assert!(world.limit(0, 0) > 5);
    let word = request(&mut world, (1, 1), 0, 0, 10, true).pop().unwrap();
    assert!(word.k <= Licenses(2), "{word:?}");
}

#[test]
fn l4_sessions_are_lent_once_the_loan_is_durable() {
    let mut world = alone(20, session(Class::Hard));
    assert_eq!(request(&mut world, (1, 1), 0, 0, 4, false), []);
    assert_eq!(world.limit(0, 0), 16, "the limit falls before");
    world.settle_disk(0);
    let word = lends(&mut world).pop().unwrap();
    let Some(Record::Loan { out, .. }) =
        world.disks[0].records.get(&Key::Loan(resource_of(&world), super::world::name(1)))
    else {
        panic!("no record");
    };
    assert!(word.k == Licenses(4) && *out >= word.k);
}

#[test]
fn l4_a_loan_of_sessions_is_said_again_until_the_borrower_has_seen_it() {
    let mut world = alone(20, session(Class::Hard));
    let word = request(&mut world, (1, 1), 0, 0, 4, true).pop().unwrap();
    world.run(1100, 1_000_000);
    let again = lends(&mut world);
    assert!(again.iter().all(|lend| (lend.seq, lend.k, lend.anchor) == (word.seq, word.k, None)) && !again.is_empty());
    request(&mut world, (1, 1), 4, word.seq.0, 4, true);
    world.run(3000, 1_000_000);
    assert_eq!(lends(&mut world), [], "it was seen");
}

#[test]
fn l4_no_more_of_a_rate_is_lent_than_the_durable_budget_covers() {
    let mut world = alone(20, rate(Class::License));
    assert_eq!(request(&mut world, (1, 1), 0, 0, 4, false).pop().unwrap().k, Licenses(0));
    world.settle_disk(0);
    assert_eq!(lends(&mut world).pop().unwrap().k, Licenses(4), "as soon as it does");
    // Within the budget nothing waits.
    request(&mut world, (1, 1), 0, 1, 0, true);
    assert_eq!(request(&mut world, (1, 1), 0, 1, 3, false).pop().unwrap().k, Licenses(3));
}

#[test]
fn l5_l7_a_silent_borrower_is_waited_for_by_any_clock_and_a_window() {
    let mut world = alone(20, rate(Class::License));
    request(&mut world, (1, 1), 0, 0, 4, true);
    // T (1 + rho) / (1 - rho), then W.
    world.run(2004 + 1000, 1);
    assert_eq!(world.limit(0, 0), 80);
    world.run(12, 1);
    assert_eq!(world.limit(0, 0), 100);
    // Nothing that it may have seen is said again under the same number.
    let word = request(&mut world, (1, 1), 0, 1, 1, true).pop().unwrap();
    assert!(word.seq > Seq(1) && word.k == Licenses(1));
}

#[test]
fn l6_a_starving_home_recalls_and_counts_it_as_lent_until_it_is_back() {
    let mut world = alone(4, rate(Class::License));
    let word = request(&mut world, (1, 1), 0, 0, 2, true).pop().unwrap();
    let mut recalls = Vec::new();
    for _ in 0..250 {
        world.offer(0, 0);
        world.run(1, 1_000_000);
        recalls.extend(lends(&mut world).into_iter().filter(|said| said.k < word.k));
    }
    assert!(recalls.iter().all(|said| said.anchor.is_none() && said.seq > word.seq), "{recalls:?}");
    assert!((2..6).contains(&recalls.len()), "each 100 ms: {recalls:?}");
    assert_eq!(world.limit(0, 0), 20 - word.k.0 * 5);
    let newest = recalls.pop().unwrap();
    request(&mut world, (1, 1), newest.k.0, newest.seq.0, newest.k.0, true);
    assert_eq!(world.limit(0, 0), 20 - newest.k.0 * 5);
}

#[test]
fn l8_what_was_not_there_is_granted_as_soon_as_it_is_and_forgotten_soon() {
    for (after_ms, granted) in [(100, true), (400, false)] {
        let mut world = alone(10, session(Class::Hard));
        while world.offer(0, 0) {}
        world.run(50, 1_000_000);
        assert_eq!(request(&mut world, (1, 1), 0, 0, 4, true).pop().unwrap().k, Licenses(0));
        let anchor = Anchor(world.now);
        world.run(after_ms, 1_000_000);
        for _ in 0..10 {
            world.end(0, 0);
        }
        world.run(30, 1_000_000);
        let words = lends(&mut world);
        assert_eq!(words.iter().any(|word| word.k > Licenses(0) && word.anchor == Some(anchor)), granted, "{words:?}");
    }
}

// --- the borrower ----------------------------------------------------------------------------------------------------

#[test]
fn b1_words_are_ordered_by_the_lenders_life_first() {
    let mut world = borrower(10, session(Class::Hard), 4);
    assert_eq!(world.limit(0, 0), 14);
    // An earlier life, with a higher number.
    let old = lend(&world, 4, 99, 9, None, 0);
    world.say(1, 0, old);
    assert_eq!(world.limit(0, 0), 14);
    // A later life, with a lower one: sessions stay, and are reported.
    let new = lend(&world, 6, 3, 4, None, 0);
    world.said();
    world.say(1, 0, new);
    assert_eq!(world.limit(0, 0), 14);
    let said = reqs(&mut world).pop().unwrap();
    assert_eq!((said.linc, said.seen, said.hold), (Incarnation(6), Seq(3), Licenses(4)));
}

#[test]
fn b1_a_rate_of_a_lender_that_restarted_is_given_up() {
    let mut world = borrower(4, rate(Class::License), 4);
    assert_eq!(world.limit(0, 0), 40);
    let new = lend(&world, 6, 1, 0, None, 2000);
    world.say(1, 0, new);
    assert_eq!(world.limit(0, 0), 20);
}

#[test]
fn b2_only_a_newer_word_raises_and_only_while_its_term_runs() {
    let mut world = borrower(4, rate(Class::License), 2);
    let anchor = Anchor(world.now);
    let same = lend(&world, 5, 7, 4, None, 2000);
    world.say(1, 0, same);
    assert_eq!(world.limit(0, 0), 30);
    world.run(2500, 1_000_000);
    let late = lend(&world, 5, 8, 4, Some(anchor), 2000);
    world.say(1, 0, late);
    assert_eq!(world.limit(0, 0), 20, "the term counts from the request");
}

#[test]
fn b3_what_has_not_cooled_is_reported_as_held() {
    let mut world = borrower(2, rate(Class::License), 4);
    while world.offer(0, 0) {}
    assert_eq!(used(&mut world), 30);
    world.said();
    let recall = lend(&world, 5, 8, 1, None, 2000);
    world.say(1, 0, recall);
    assert_eq!(world.limit(0, 0), 15, "no freed slot is used again");
    assert_eq!(reqs(&mut world).pop().unwrap().hold, Licenses(4));
    world.run(1100, 1_000_000);
    let said = reqs(&mut world);
    let (last, before) = said.split_last().unwrap();
    assert!(before.iter().all(|req| req.hold == Licenses(4)) && last.hold <= Licenses(1), "{said:?}");
}

#[test]
fn b5_n1_a_rate_ends_though_no_task_ran() {
    let mut world = borrower(4, rate(Class::License), 4);
    assert_eq!(world.limit(0, 0), 40);
    world.now += 2000 * MS;
    assert_eq!(world.limit(0, 0), 20);
}

#[test]
fn b5_sessions_of_the_license_class_take_no_new_call_without_a_lease() {
    let mut world = borrower(4, session(Class::License), 4);
    while world.offer(0, 0) {}
    world.run(2100, 1_000_000);
    assert_eq!((world.limit(0, 0), used(&mut world)), (4, 8), "running calls keep theirs");
    assert_eq!(reqs(&mut world).pop().unwrap().hold, Licenses(4));
}

#[test]
fn b6_a_loan_in_use_is_renewed_in_time() {
    let mut world = borrower(4, rate(Class::License), 4);
    let start = world.now;
    let mut renewed = None;
    for _ in 0..1900 {
        world.offer(0, 0);
        world.run(1, 1_000_000);
        if reqs(&mut world).iter().any(|req| req.hold == Licenses(4)) && renewed.is_none() {
            renewed = Some((world.now - start) / MS);
        }
    }
    assert!(renewed.is_some_and(|at| at < 1250), "{renewed:?}");
}

#[test]
fn b7_a_return_is_said_again_until_the_lender_says_the_same() {
    let mut world = borrower(4, session(Class::Hard), 4);
    while used(&mut world) > 0 {
        world.end(0, 0);
    }
    world.run(3000, 1_000_000);
    let returns = reqs(&mut world).iter().filter(|req| req.hold == Licenses(0)).count();
    assert!(returns >= 2, "{returns}");
    let word = lend(&world, 5, 7, 0, None, 0);
    world.say(1, 0, word);
    world.said();
    world.run(3000, 1_000_000);
    assert_eq!(reqs(&mut world), []);
}

#[test]
fn b8_an_adoption_is_taken_once() {
    let mut world = alone(4, session(Class::Hard));
    let adopt = Message::Adopt(Adopt {
        resource: resource_of(&world),
        linc: Incarnation(5),
        binc: Incarnation(1),
        out: Licenses(6),
        seq: Seq(9),
    });
    world.say(1, 0, adopt.clone());
    let echo = reqs(&mut world).pop().unwrap();
    assert_eq!((echo.linc, echo.seen, echo.hold), (Incarnation(5), Seq(9), Licenses(6)));
    world.run(100, 1_000_000);
    assert_eq!(world.limit(0, 0), 4, "given back, since nothing is in use");
    world.say(1, 0, adopt);
    assert_eq!(world.limit(0, 0), 4);
}

#[test]
fn b8_what_was_adopted_is_not_given_back_before_calls_are_known() {
    let mut world = alone(4, session(Class::Hard));
    world.node(0).desks.0[0].reconciled = false;
    let (resource, linc, binc) = (resource_of(&world), Incarnation(5), Incarnation(1));
    world.say(1, 0, Message::Adopt(Adopt { resource, linc, binc, out: Licenses(6), seq: Seq(9) }));
    world.run(500, 1_000_000);
    assert!(reqs(&mut world).iter().all(|req| req.hold == Licenses(6)));
    world.node(0).desks.0[0].reconciled = true;
    world.run(500, 1_000_000);
    assert_eq!(reqs(&mut world).pop().unwrap().hold, Licenses(0));
}

// --- restarts, disks, lies -------------------------------------------------------------------------------------------

#[test]
fn s1_after_a_restart_the_budgeted_units_rest_until_every_loan_has_ended() {
    let mut world = alone(20, rate(Class::License));
    request(&mut world, (1, 1), 0, 0, 4, true);
    world.crash(0);
    world.start(0);
    let rest = world.limit(0, 0);
    assert!((60..=80).contains(&rest), "the rest of home is usable at once: {rest}");
    world.run(2004 + 1000, 1);
    assert_eq!(world.limit(0, 0), rest);
    world.run(12, 1);
    assert_eq!(world.limit(0, 0), 100);
}

#[test]
fn s2_after_a_restart_lent_sessions_are_still_lent_and_their_borrower_is_asked() {
    let mut world = alone(20, session(Class::Hard));
    request(&mut world, (1, 1), 0, 0, 4, true);
    world.crash(0);
    world.start(0);
    assert_eq!(world.limit(0, 0), 16);
    world.run(2500, 1_000_000);
    let words = lends(&mut world);
    assert!(words.len() >= 2 && words.iter().all(|word| word.linc == Incarnation(2) && word.k == Licenses(4)));
    request(&mut world, (1, 2), 1, words[0].seq.0, 1, true);
    assert_eq!(world.limit(0, 0), 19);
}

#[test]
fn a_borrower_that_restarted_is_told_what_it_holds_and_nothing_else() {
    let mut world = alone(20, session(Class::Hard));
    let word = request(&mut world, (1, 1), 0, 0, 4, true).pop().unwrap();
    assert_eq!(request(&mut world, (2, 0), 0, 0, 9, true), []);
    world.run(1100, 1_000_000);
    let adopts =
        world.said().into_iter().filter(|said| matches!(said, Message::Adopt(adopt) if adopt.out == Licenses(4)));
    assert!(adopts.count() >= 1);
    assert_eq!(request(&mut world, (2, 1), 4, word.seq.0, 4, true).len(), 1);
}

#[test]
fn a_write_that_failed_lends_nothing_and_is_tried_again() {
    let mut world = alone(20, session(Class::Hard));
    request(&mut world, (1, 1), 0, 0, 4, false);
    let (batch, _) = world.node(0).batch.take().unwrap();
    let now = world.local(0);
    world.node(0).cluster.handle_persist_failed(batch, now);
    world.drain(0);
    assert_eq!(lends(&mut world), []);
    // Nothing more is taken out of home meanwhile.
    let limit = world.limit(0, 0);
    request(&mut world, (1, 1), 0, 0, 9, false);
    assert_eq!(world.limit(0, 0), limit);
    for _ in 0..600 {
        world.now += MS;
        world.wake(0);
    }
    world.settle_disk(0);
    assert!(lends(&mut world).iter().any(|word| word.k >= Licenses(4)));
    let events = &world.node(0).events;
    assert!(events.iter().any(|event| matches!(event, Event::LedgerFailed { .. })));
    assert!(events.contains(&Event::LedgerWritable));
}

#[test]
fn sessions_of_a_long_silent_borrower_come_back_once_that_is_declared() {
    let mut world = alone(4, session(Class::License));
    let word = request(&mut world, (1, 1), 0, 0, 3, true).pop().unwrap();
    assert!(word.k >= Licenses(2), "{word:?}");
    let home_starves = |world: &mut World| {
        while world.offer(0, 0) {}
        world.offer(0, 0);
        world.run(40, 1_000_000);
    };
    world.now += 100_000 * MS;
    home_starves(&mut world);
    assert_eq!(world.limit(0, 0), 4 - word.k.0, "its lease and the grace haven't passed");
    world.now += 25_000 * MS;
    home_starves(&mut world);
    assert_eq!(world.limit(0, 0), 4);
    let key = Key::OvershootPossible(resource_of(&world), super::world::name(1));
    assert!(
        matches!(world.disks[0].records.get(&key), Some(Record::OvershootPossible { units, .. }) if *units == word.k)
    );
    // It comes back, sees the newest word, and uses nothing more: the record is closed.
    let told = request(&mut world, (1, 1), word.k.0, word.seq.0, 0, true).pop().unwrap();
    request(&mut world, (1, 1), 0, told.seq.0, 0, true);
    world.settle_disk(0);
    assert!(matches!(world.disks[0].records.get(&key), Some(Record::OvershootPossible { units: Licenses(0), .. })));
}

#[test]
fn absurd_and_foreign_words_count_for_nothing() {
    for resource in [rate(Class::License), session(Class::Hard), session(Class::License)] {
        let mut world = borrower(4, resource, 2);
        let limit = world.limit(0, 0);
        let future = Anchor(u64::MAX);
        let mut foreign = lend(&world, 5, 9, 4, None, 2000);
        if let Message::Lend(lend) = &mut foreign {
            lend.binc = Incarnation(77);
        }
        let absurd = [lend(&world, 5, 9, u32::MAX, None, 2000), lend(&world, 5, 9, 4, Some(future), u32::MAX), foreign];
        for message in absurd {
            world.say(1, 0, message);
            assert_eq!(world.limit(0, 0), limit);
        }
        let events = world.node(0).events.iter().filter(|event| matches!(event, Event::Ignored { .. })).count();
        assert!(events >= 3);
        for (binc, linc, hold, seen, want) in
            [(1, 1, u32::MAX, u64::MAX, u32::MAX), (u64::MAX, u64::MAX, 0, 0, 0), (u64::MAX, 1, 0, u64::MAX, u32::MAX)]
        {
            request(&mut world, (binc, linc), hold, seen, want, true);
            world.run(30, 1_000_000);
        }
        let wrapped = lend(&world, u64::MAX, u64::MAX, 0, None, 0);
        world.say(1, 0, wrapped);
        world.run(100, 1_000_000);
        let now: Tick = world.local(0);
        assert!(world.node(0).cluster.poll_timeout().is_some_and(|due| due > now), "time stands still");
    }
}
