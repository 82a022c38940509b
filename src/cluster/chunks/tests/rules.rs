//! The rules one by one, on a kind wire.

use super::world::{MS, Packet, World, name, resource};
use crate::cluster::chunks::{Answer, ChunkEvent, Op};
use crate::cluster::{Class, Kind, Licenses};
use crate::units::NANOS_PER_SECOND;

const CPS: (Kind, Class) = (Kind::Rate, Class::License);
const SESSIONS: (Kind, Class) = (Kind::Session, Class::Hard);

fn world(homes: &[u32], (kind, class): (Kind, Class)) -> World {
    let mut world = World::started(homes, resource(kind, class));
    world.run(500, 1);
    world
}

/// Everything that one node can get.
fn fill(world: &mut World, node: usize) {
    for _ in 0..100 {
        world.run(20, 1);
        (0..100).for_each(|_| {
            world.offer(node);
        });
    }
}

#[test]
fn a_busy_node_takes_what_all_brought_in_and_gives_it_back_when_idle() {
    let mut world = world(&[10, 10], CPS);
    let admitted = world.load(0, 200, 6);
    assert!(admitted > 3 * 100, "{admitted}");
    assert!(world.limit(0) >= 95, "{}", world.limit(0));
    world.run(6000, 1);
    assert_eq!(world.view(0).held, Licenses::ZERO, "I10: nothing stays where nothing is used");
    assert_eq!(world.view(0).lowered, Licenses::ZERO);
}

#[test]
fn a_node_that_hears_nothing_stops_a_window_before_its_lease_can_end() {
    let mut world = world(&[10], CPS);
    fill(&mut world, 0);
    let until = world.view(0).until.unwrap();
    assert_eq!(world.limit(0), 50);
    // Nobody answers: neither tasks nor timers are needed for what follows.
    world.wire.clear();
    let ends = world.engine.leases.values().map(|(end, _)| *end).max().unwrap();
    assert!(until.0 + NANOS_PER_SECOND < ends, "a window before the engine's end");
    world.now = until.0 - 1;
    assert_eq!(world.limit(0), 50);
    world.now = until.0;
    assert_eq!(world.limit(0), 0);
}

#[test]
fn what_is_kept_counts_without_any_engine() {
    let mut world = World::new(&[10], resource(CPS.0, CPS.1), 40);
    world.start(0);
    assert_eq!(world.limit(0), 20);
    world.run(500, 1);
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 50);
    assert_eq!(world.view(0).home, Licenses(6), "the rest lies in the engine");
}

#[test]
fn a_lease_is_never_kept_alive_each_term_has_its_own() {
    let mut world = world(&[10], CPS);
    let before = world.engine.granted;
    world.run(20_000, 1);
    let terms = world.engine.granted - before;
    // Of five seconds less the window sixty percent.
    assert!((6..=10).contains(&terms), "{terms}");
    assert!(world.engine.leases.len() <= 3, "old ones end by themselves");
    assert_eq!(world.node(0).events.iter().filter(|event| **event == ChunkEvent::Lapsed).count(), 0);
}

#[test]
fn the_chunk_of_a_dead_life_is_reaped_when_its_term_is_over_and_not_before() {
    let mut world = world(&[10, 10], CPS);
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 100);
    world.crash(0);
    for _ in 0..20 {
        world.run(20, 1);
        world.offer(1);
    }
    assert_eq!(world.limit(1), 0, "the dead one's last calls may be warm, and its life may not be over");
    world.run(6000, 1);
    fill(&mut world, 1);
    assert_eq!(world.limit(1), 100);
    assert!(world.node(1).events.iter().any(|event| matches!(event, ChunkEvent::Reaped(_, _, Licenses(20)))));
}

#[test]
fn sessions_of_a_dead_node_wait_for_it_and_are_its_own_again() {
    let mut world = world(&[10, 10], SESSIONS);
    for _ in 0..200 {
        world.run(20, 1);
        if world.calls[0] < 15 {
            world.offer(0);
        }
    }
    assert_eq!(world.calls[0], 15);
    world.crash(0);
    world.run(60_000, 1);
    fill(&mut world, 1);
    assert!(world.calls[1] <= 5, "no time frees them: {}", world.calls[1]);
    world.start(0);
    world.run(500, 1);
    let view = world.view(0);
    assert!(view.held.plus(view.lowered) >= Licenses(15), "{view:?}");
    let (claims, homes) = world.claims();
    assert!(claims <= homes, "{claims} of {homes}");
}

#[test]
fn a_node_with_another_ledger_takes_over_no_sessions_of_its_name() {
    let mut world = world(&[10], SESSIONS);
    (0..60).for_each(|_| {
        world.run(20, 1);
        world.offer(0);
    });
    assert!(world.calls[0] > 0);
    world.crash(0);
    world.ledgers[0] = 99;
    world.start(0);
    world.run(12_000, 1);
    assert_eq!(world.limit(0), 0);
    assert!(world.node(0).events.iter().any(|event| matches!(event, ChunkEvent::NameTaken(_))));
}

#[test]
fn a_forgotten_nodes_sessions_are_free_and_declared_and_its_home_goes() {
    let mut world = world(&[10, 10], SESSIONS);
    (0..200).for_each(|_| {
        world.run(20, 1);
        if world.calls[0] < 15 {
            world.offer(0);
        }
    });
    let now = world.local(1);
    world.node(1).chunks.forget(name(0), now);
    world.run(500, 1);
    assert!(world.node(1).events.contains(&ChunkEvent::StillAlive(name(0))), "it lives");
    world.crash(0);
    world.run(7000, 1);
    let now = world.local(1);
    world.node(1).chunks.forget(name(0), now);
    world.run(2000, 1);
    fill(&mut world, 1);
    assert_eq!(world.calls[1], 10, "the other's home is all there is");
    let (claims, homes) = world.claims();
    assert!(claims <= homes, "{claims} of {homes}: what the dead one may still use is declared");
    let gone = world.engine.numbers("callgate/gone/", "licenses").into_values().sum::<u64>();
    assert!((15..=20).contains(&gone), "{gone}: what it held, its fifteen calls among it");
}

#[test]
fn a_node_has_what_it_brought_in_back_from_one_that_uses_everything() {
    let mut world = world(&[10, 10], CPS);
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 100);
    for _ in 0..500 {
        world.run(20, 1);
        (0..100).for_each(|_| {
            world.offer(0);
            world.offer(1);
        });
    }
    assert_eq!([world.limit(0), world.limit(1)], [50, 50]);
    let (claims, homes) = world.claims();
    assert!(claims <= homes);
    world.run(3000, 1);
    assert_eq!(
        world.engine.numbers("callgate/book/", "claimed").into_values().sum::<u64>(),
        0,
        "who is idle asks nothing back"
    );
}

#[test]
fn a_home_falls_as_calls_end_and_nobody_takes_anything_meanwhile() {
    let mut world = world(&[10, 10], CPS);
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 100);
    world.set_home(1, 2);
    fill(&mut world, 0);
    world.run(3000, 1);
    assert_eq!(world.view(1).home, Licenses(2));
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 60);
    let (claims, homes) = world.claims();
    assert!(claims <= homes && homes == 60);
}

/// A return that nobody answered, is thought lost, and arrives when its units are in use again.
#[test]
fn a_return_that_arrives_late_takes_nothing_that_is_used_again() {
    let mut world = world(&[10], CPS);
    fill(&mut world, 0);
    world.run(1500, 1);
    // Idle: it gives back. That request is kept aside.
    let mut late = None;
    for _ in 0..2000 {
        world.now += MS;
        world.step_node(0);
        let returns = |packet: &Packet| {
            let Packet::Ask { op: Op::Txn(txn), .. } = packet else { return false };
            let sets = |key: &str, value: &str| txn.put.iter().any(|p| p.key.contains(key) && p.value.contains(value));
            sets("/hold/", "\"licenses\":0") && sets("/book/", "\"taken\":0")
        };
        if world.wire.iter().any(|(_, packet)| returns(packet)) {
            late = world.wire.pop();
            break;
        }
        while let Some((_, packet)) = world.wire.pop() {
            world.arrive(packet);
        }
    }
    let (_, late) = late.expect("an idle node gives back");
    world.give_up(0);
    world.run(500, 1);
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 50, "all of it is in use again");
    world.arrive(late);
    let (claims, homes) = world.claims();
    assert!(claims <= homes);
    assert_eq!(world.engine.numbers("callgate/hold/", "licenses").into_values().sum::<u64>(), 10);
}

#[test]
fn an_engine_from_a_backup_is_noticed_and_everything_is_taken_anew() {
    let mut world = world(&[10, 10], CPS);
    let backup = world.engine.clone();
    fill(&mut world, 0);
    world.engine = backup;
    world.run(4000, 1);
    assert!(world.node(0).events.contains(&ChunkEvent::WentBack));
    fill(&mut world, 0);
    assert_eq!(world.limit(0), 100);
    let (claims, homes) = world.claims();
    assert!(claims <= homes);
}

#[test]
fn nothing_is_written_over_what_is_not_understood() {
    let mut world = world(&[10], CPS);
    world.engine.put("callgate/book/x.rate.license", "{\"homes\":\"many\"}");
    fill(&mut world, 0);
    world.run(5000, 1);
    assert!(
        world.node(0).events.iter().any(|event| matches!(event, ChunkEvent::Unreadable(key) if key.contains("book")))
    );
    let Answer::Listed { entries, .. } =
        world.engine.apply(&Op::List { prefix: "callgate/book/".into(), after: String::new(), most: 9 }, world.now)
    else {
        panic!("a list")
    };
    assert!(entries[0].value.contains("many"));
}

#[test]
fn an_idle_node_asks_for_two_things_a_term() {
    let mut world = world(&[10, 10, 10], CPS);
    let (asked, written) = (world.asked, world.engine.transactions);
    world.run(60_000, 1);
    let per_minute = (world.asked - asked) / 3;
    let writes = (world.engine.transactions - written) / 3;
    assert!(per_minute < 60 && writes < 30, "{per_minute} requests and {writes} transactions a minute");
}
