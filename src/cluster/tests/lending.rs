//! What lending does on a kind wire.

use super::world::{World, rate, session};
use crate::cluster::*;

#[test]
fn calls_beyond_home_are_admitted_on_licenses_of_a_peer() {
    let mut world = World::started(&[20, 20], vec![rate(Class::License)]);
    world.run(300, 2);
    let mut admitted = 0;
    // 150 calls per second at a node that holds 100.
    for step in 0..30_000 {
        if step % 20 == 0 && world.offer(0, 0) && step >= 10_000 {
            admitted += 1;
        }
        if step % 3 == 0 {
            world.run(1, 2);
        }
    }
    assert!(admitted >= 990, "of 1000 calls {admitted} were admitted");
}

#[test]
fn sessions_are_lent_and_come_back_when_they_end() {
    let mut world = World::started(&[10, 10], vec![session(Class::Hard)]);
    world.run(300, 2);
    let mut live = 0;
    for _ in 0..16 {
        live += u32::from(world.offer(0, 0));
        world.run(30, 2);
    }
    assert!(live >= 15, "{live} of 16");
    assert!(world.limit(1, 0) <= 5);
    for _ in 0..live {
        world.end(0, 0);
    }
    world.run(2000, 2);
    assert_eq!((world.limit(0, 0), world.limit(1, 0)), (10, 10));
}
