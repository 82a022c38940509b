//! Words of lives that have not said who they are.

use super::*;
use crate::cluster::ids::{Incarnation, Seq};
use crate::cluster::message::{Anchor, Census, Req};

/// A request of node a to node b, as its life `life` would send it.
fn asks_as(net: &mut Net, life: Incarnation) {
    let now = net.now;
    net.with("b", |node| {
        let req = Req {
            resource: resources()[HARD.0].id.clone(),
            binc: life,
            linc: node.cluster.inc(),
            anchor: Anchor(now.0),
            hold: Licenses::ZERO,
            seen: Seq(0),
            want: Licenses(4),
        };
        node.cluster.handle_message(&name("a"), Message::Req(req), now, &mut node.calls);
    });
}

#[test]
fn a_life_that_has_not_greeted_is_lent_nothing_and_asked_who_it_is() {
    let mut net = net(Retention::Off);
    net.run(1000);
    let (limit, life) = (net.limit("b", HARD), net.nodes[&name("a")].cluster.inc());
    asks_as(&mut net, Incarnation(life.0 + 1));
    assert_eq!(net.limit("b", HARD), limit);
    assert!(net.told("b", |event| matches!(event, Event::Ignored { reason, .. } if reason.contains("greeted"))));
    net.run(500);
    asks_as(&mut net, life);
    assert!(net.limit("b", HARD) < limit, "the life that did greet is served");
}

#[test]
fn a_census_of_before_a_life_that_greeted_is_not_answered() {
    let mut net = net(Retention::Off);
    net.run(1000);
    let (now, life) = (net.now, net.nodes[&name("a")].cluster.inc());
    let census = |inc: Incarnation| Message::Census(Census { about: name("a"), anchor: Anchor(now.0), inc });
    let seen = |net: &Net| net.nodes[&name("b")].cluster.inspect_pair(HARD, &name("a")).linc;
    net.with("b", |node| {
        node.cluster.handle_message(&name("a"), census(Incarnation(life.0 - 1)), now, &mut node.calls);
    });
    assert_eq!(seen(&net), life, "it waits for no later life, which would never come");
}

#[test]
fn a_census_asked_twice_is_answered_alike() {
    let mut net = net(Retention::Off);
    want(&mut net, "b", 30, 0);
    net.run(1000);
    let (now, inc) = (net.now, net.nodes[&name("a")].cluster.inc());
    let seen = |net: &Net| net.nodes[&name("b")].cluster.inspect_pair(ResourceIndex(0), &name("a")).linc;
    let before = seen(&net);
    let mut after = Vec::new();
    for _ in 0..2 {
        let census = Message::Census(Census { about: name("a"), anchor: Anchor(now.0), inc });
        net.with("b", |node| node.cluster.handle_message(&name("a"), census, now, &mut node.calls));
        after.push(seen(&net));
    }
    assert!(after[0] > before, "what the earlier ledger said counts no more: {after:?}");
    assert_eq!(after[0], after[1], "the one life that follows is the one that is waited for");
}
