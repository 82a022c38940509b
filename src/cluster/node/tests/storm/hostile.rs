//! Members that lie, and messages that come again.

use super::*;

#[test]
fn a_member_whose_hints_lie_costs_nobody_else_what_the_honest_ones_have() {
    let mut storm = Storm::new(4, 11, Rules::default(), Parameters::default());
    storm.liar = Some(3);
    storm.members[3].wants = [HOME, HOME * 5];
    storm.run(5000);
    assert_eq!(storm.members[3].load.live, HOME, "and its own are all in use");
    storm.members[0].wants = [2 * HOME, 2 * HOME * 5];
    storm.run(8000);
    assert!(storm.members[0].load.live >= 2 * HOME - 2, "{}", storm.members[0].load.live);
    assert!(storm.limit(0, RATE) >= 2 * HOME * 5 - 10, "{}", storm.limit(0, RATE));
    for place in 1..3 {
        storm.members[place].wants = [HOME / 2, 0];
    }
    storm.run(5000);
    assert!((1..3).all(|place| storm.members[place].load.live >= HOME / 2 - 1), "nor those who lent their own");
}

#[test]
fn messages_that_come_again_later_and_in_another_order_move_nothing() {
    for self_lease in [false, true] {
        let mut storm = Storm::new(3, 5, Rules::default(), Parameters { self_lease, ..params() });
        storm.heard = Some(Vec::new());
        storm.run(3000);
        for (place, wanted) in [(0, 45), (1, 30), (0, 3), (2, 50), (1, 0), (2, 5)] {
            storm.members[place].wants = [wanted, wanted * 5];
            storm.run(1500);
        }
        let heard = storm.heard.take().unwrap();
        assert!(heard.len() > 1000);
        // Backwards, then in no order, while other calls come.
        for round in 0..2 {
            for member in &mut storm.members {
                member.wants = [25, 25 * 5];
            }
            for (number, packet) in heard.iter().rev().enumerate() {
                let late =
                    u64::try_from(if round == 0 { number / 10 } else { storm.dice.below(heard.len() / 10) }).unwrap();
                storm.sent += 1;
                storm.wires.insert((storm.real + late * MS, storm.sent), packet.clone());
            }
            storm.run(u64::try_from(heard.len() / 10).unwrap() + 1000);
        }
        for member in &mut storm.members {
            member.wants = [0, 0];
        }
        storm.run(25_000);
        for place in 0..3 {
            let floor = if self_lease { HOME / 4 } else { HOME };
            assert!(storm.limit(place, CALLS) >= floor, "{place}: {}", storm.limit(place, CALLS));
            assert_eq!(storm.limit(place, RATE), HOME * 5, "{place}: everything is home again");
        }
    }
}
