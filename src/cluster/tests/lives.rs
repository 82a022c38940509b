//! Words that come late: of earlier lives of their sender, or to them. Node 0 is real, the test speaks for node 1.

use super::rules::{alone, borrower, reqs, request, resource_of};
use super::world::{World, rate, session};
use crate::cluster::*;

fn hello(world: &World, inc: u64) -> Message {
    Message::Hello(Hello {
        proto_min: 1,
        proto_max: 1,
        node: super::world::name(1),
        ledger: LedgerId(1),
        inc: Incarnation(inc),
        life: 0,
        asks: false,
        resources: vec![resource_of(world)],
    })
}

#[test]
fn a_late_request_of_a_life_before_the_one_that_greeted_is_lent_nothing() {
    let mut world = alone(20, session(Class::License));
    let greeting = hello(&world, 5);
    world.say(1, 0, greeting);
    world.said();
    assert_eq!(request(&mut world, (2, 1), 0, 0, 4, true), []);
    assert_eq!(world.limit(0, 0), 20, "nobody would ever give that back");
    assert_eq!(request(&mut world, (5, 1), 0, 0, 4, true).pop().unwrap().k, Licenses(4));
}

#[test]
fn a_second_adoption_of_one_life_raises_nothing_and_is_echoed() {
    let mut world = alone(4, session(Class::Hard));
    let resource = resource_of(&world);
    let adopt = |seq: u64| {
        let (linc, binc) = (Incarnation(5), Incarnation(1));
        Message::Adopt(Adopt { resource: resource.clone(), linc, binc, out: Licenses(6), seq: Seq(seq) })
    };
    world.say(1, 0, adopt(9));
    world.run(100, 1_000_000);
    assert_eq!(world.limit(0, 0), 4, "given back, since nothing is in use");
    world.said();
    world.say(1, 0, adopt(10));
    let echo = reqs(&mut world).pop().unwrap();
    assert_eq!((echo.seen, echo.hold), (Seq(10), Licenses(0)), "else its lender says it for ever");
    assert_eq!(world.limit(0, 0), 4);
}

#[test]
fn who_asks_gets_its_own_back_before_it_is_lent_anything() {
    let mut world = borrower(4, rate(Class::License), 8);
    world.run(30, 1_000_000);
    let held = world.limit(0, 0);
    assert!(held > 20, "it still holds some: {held}");
    world.said();
    let req = Message::Req(Req {
        resource: resource_of(&world),
        binc: Incarnation(1),
        linc: Incarnation(1),
        anchor: Anchor(world.now),
        hold: Licenses(0),
        seen: Seq(0),
        want: Licenses(1),
    });
    world.say(1, 0, req);
    let said = world.said();
    let back = said.iter().find_map(|said| if let Message::Req(req) = said { Some(req.hold) } else { None });
    assert_eq!(back, Some(Licenses((held - 20) / 5 - 1)), "{said:?}");
    let lent = said.iter().find_map(|said| if let Message::Lend(lend) = said { Some(lend.k) } else { None });
    assert_eq!(lent, Some(Licenses(0)), "its own is all that it asked for");
}
