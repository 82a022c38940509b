//! The table against a model: every key found, every list whole, every end kept.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::admission::entry::state;

fn key(number: u64) -> CallKey {
    // Few distinct tags, so that the index has runs.
    CallKey { high: (number % 5) << 61 | number, low: number }
}

#[derive(Debug, Clone)]
enum Action {
    Open(u64, u32),
    Remember(u64),
    Remove(u64),
    Rearm(u64, u32),
    Tombstone(u64),
    Rename(u64, u64),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0..40_u64, 1..40_000_u32).prop_map(|(key, ends)| Action::Open(key, ends)),
        (0..40_u64).prop_map(Action::Remember),
        (0..40_u64).prop_map(Action::Remove),
        (0..40_u64, 1..40_000_u32).prop_map(|(key, ends)| Action::Rearm(key, ends)),
        (0..40_u64).prop_map(Action::Tombstone),
        (0..40_u64, 0..40_u64).prop_map(|(from, to)| Action::Rename(from, to)),
        (0..20_000_u32).prop_map(Action::Pass),
    ]
}

/// What the model knows of a key: live or not, and when it ends.
type Model = HashMap<u64, (bool, u32)>;

proptest! {
    #[test]
    fn a_table_keeps_every_entry_until_its_end_and_not_longer(steps in prop::collection::vec(step(), 1..120)) {
        let mut table = Table::new(20, 12);
        let mut model: Model = HashMap::new();
        let mut now = Step(1000);
        for step in steps {
            match step {
                Action::Open(number, ends) => {
                    let ends = Step(now.0 + ends);
                    if table.find(key(number)).is_none()
                        && let Some(place) = table.add_live(key(number))
                    {
                        table.entry_mut(place).ends = ends;
                        table.arm(place, now);
                        model.insert(number, (true, ends.0));
                    }
                }
                Action::Rearm(number, ends) => {
                    let ends = Step(now.0 + ends);
                    if let Some(place) = table.find(key(number))
                        && table.entry(place).is_live()
                    {
                        table.rearm(place, ends, now);
                        model.insert(number, (true, ends.0));
                    }
                }
                Action::Remember(number) => {
                    if let Some(place) = table.find(key(number))
                        && table.entry(place).is_live()
                    {
                        // All memories of a kind last equally long.
                        let ends = Step(now.0 + 480);
                        table.remember(place, Memory::Released, ends, now);
                        model.insert(number, (false, ends.0));
                    }
                }
                Action::Rename(from, to) => {
                    if let Some(place) = table.find(key(from))
                        && !table.entry(place).is_live()
                        && table.find(key(to)).is_none()
                        && let Some(known) = model.remove(&from)
                    {
                        table.rename(place, key(to));
                        model.insert(to, known);
                    }
                }
                Action::Tombstone(number) => {
                    if table.find(key(number)).is_none() {
                        let ends = Step(now.0 + 900);
                        if table.add_memory(key(number), Memory::Tombstone, ends, now).is_some() {
                            model.insert(number, (false, ends.0));
                        }
                    }
                }
                Action::Remove(number) => {
                    if let Some(place) = table.find(key(number)) {
                        table.remove(place);
                        model.remove(&number);
                    }
                }
                Action::Pass(steps) => {
                    now = Step(now.0 + steps);
                    let mut budget = u32::MAX;
                    while let Some(place) = table.next_ended(now, &mut budget) {
                        let number = table.entry(place).key.low;
                        let (live, ends) = model.remove(&number).expect("an entry that the model knows");
                        prop_assert!(live && ends <= now.0, "ended early: {number}");
                        table.remove(place);
                    }
                    prop_assert!(!table.forget_ended(now, &mut u32::MAX.clone()));
                    prop_assert!(model.values().all(|(live, ends)| !live || *ends > now.0), "a lease outlived its end");
                }
            }
            // Memories may have been evicted for newer ones; nothing else may be missing.
            model.retain(|number, (live, _)| *live || table.find(key(*number)).is_some());
            prop_assert!(table.memories() <= 12);
            let live = model.values().filter(|(live, _)| *live).count();
            prop_assert_eq!(table.live(), u32::try_from(live).unwrap());
            for (number, (live, ends)) in &model {
                let place = table.find(key(*number));
                prop_assert!(place.is_some(), "lost: {}", number);
                let entry = table.entry(place.unwrap());
                prop_assert_eq!(entry.is_live(), *live);
                prop_assert_eq!(entry.ends.0, *ends);
                prop_assert!(entry.prev != 0, "on no list");
            }
            let counted: u32 = (0..table.places()).map(|place| u32::from(table.entry(place).state != 0)).sum();
            prop_assert_eq!(counted, table.live() + table.memories());
        }
    }
}

#[test]
fn a_released_marker_makes_room_by_forgetting_the_oldest() {
    let mut table = Table::new(8, 4);
    for number in 0..6 {
        let place = table.add_live(key(number)).unwrap();
        table.entry_mut(place).ends = Step(100);
        table.arm(place, Step(1));
        let evicted = table.remember(place, Memory::Released, Step(50), Step(1));
        assert_eq!(evicted, number >= 4);
    }
    assert_eq!(table.memories(), 4);
    assert!(table.find(key(0)).is_none() && table.find(key(1)).is_none());
    assert!((2..6).all(|number| table.find(key(number)).is_some()));
}

#[test]
fn refusals_fill_at_most_half_of_the_memories() {
    let mut table = Table::new(8, 8);
    for number in 0..8 {
        table.add_memory(key(number), Memory::Refused, Step(10), Step(1));
    }
    assert_eq!(table.memories(), 4);
    for number in 10..14 {
        table.add_memory(key(number), Memory::Tombstone, Step(10), Step(1));
    }
    assert!((10..14).all(|number| table.find(key(number)).is_some()));
    assert_eq!(table.entry(table.find(key(13)).unwrap()).state, state::TOMBSTONE);
}

#[test]
fn a_full_table_takes_no_further_live_entry() {
    let mut table = Table::new(2, 2);
    assert!(table.add_live(key(1)).is_some() && table.add_live(key(2)).is_some());
    assert!(table.add_live(key(3)).is_none());
}

#[test]
fn ended_leases_come_in_pieces_of_the_budget() {
    let mut table = Table::new(100, 4);
    for number in 0..100 {
        let place = table.add_live(key(number)).unwrap();
        table.entry_mut(place).ends = Step(10);
        table.arm(place, Step(1));
    }
    let mut ended = 0;
    for _ in 0..4 {
        let mut budget = 32;
        while let Some(place) = table.next_ended(Step(20), &mut budget) {
            table.remove(place);
            ended += 1;
        }
    }
    assert_eq!(ended, 100);
    assert_eq!(table.live(), 0);
}

#[test]
fn what_is_over_makes_room_before_what_is_not_and_a_flood_pushes_out_its_own() {
    let mut table = Table::new(8, 4);
    table.add_memory(key(0), Memory::Released, Step(50), Step(1));
    table.add_memory(key(1), Memory::Tombstone, Step(5), Step(1));
    table.add_memory(key(2), Memory::Tombstone, Step(60), Step(1));
    table.add_memory(key(3), Memory::Tombstone, Step(60), Step(1));
    let (_, early) = table.add_memory(key(4), Memory::Released, Step(70), Step(10)).unwrap();
    assert!(!early && table.find(key(1)).is_none(), "the one that was over went");
    for number in 5..9 {
        assert!(table.add_memory(key(number), Memory::Tombstone, Step(80), Step(10)).unwrap().1);
    }
    assert!(
        table.find(key(0)).is_some() && table.find(key(4)).is_some(),
        "released markers outlive a flood of tombstones"
    );
}
