//! Members lend one another calls per second and sessions: a skewed load uses what the cluster bought, and whatever happens
//! to members, links and processes, all together never admit more.

use std::time::{Duration, Instant};

use super::load::{Offers, peak_of_all, while_offering};
use super::node::{Node, cluster, loans_of};
use crate::support::lane::Lane;
use crate::support::within;

/// Three nodes of fifty calls per second.
const SUM: usize = 150;

fn loads(nodes: &[Node], rates: &[u32]) -> Vec<(std::path::PathBuf, u32)> {
    nodes.iter().zip(rates).map(|(node, rate)| (node.socket(), *rate)).collect()
}

/// No second of all nodes together holds more than the cluster bought.
fn holds(offers: &[Offers], sum: usize) {
    let peak = peak_of_all(offers);
    assert!(peak <= sum, "{peak} calls were admitted in one second, and the cluster bought {sum}");
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_skewed_load_is_admitted_up_to_what_the_cluster_bought_and_no_second_holds_more() {
    let lane = Lane::open("cluster-skew");
    let nodes = cluster(&lane, 3);
    let origin = Instant::now();
    let (from, offers) = while_offering(origin, &loads(&nodes, &[170, 5, 5]), false, || {
        std::thread::sleep(Duration::from_secs(3));
        let from = origin.elapsed();
        std::thread::sleep(Duration::from_secs(5));
        let loans = loans_of(&nodes[0], &lane, "cps");
        assert!(loans.borrowed > 0, "{}", nodes[0].cluster(&lane));
        from
    });
    holds(&offers, SUM);
    let loaded = offers[0].admitted_within(from, Duration::from_secs(5));
    // Alone it would admit 250 in five seconds.
    assert!(loaded > 5 * 100, "the loaded node admitted {loaded} calls in five seconds");
    // Nothing stays borrowed where nothing is used.
    let home = within(super::node::PATIENCE, || nodes.iter().all(|node| loans_of(node, &lane, "cps").lent == 0));
    assert!(home, "{}", nodes[1].cluster(&lane));
}
