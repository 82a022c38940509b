//! Nodes that take their chunks of a real etcd: it and they are killed and frozen, and all together never admit more than
//! they brought in.
//!
//! `tests/run-all.sh` runs them, with the feature `etcd`; they need root for the namespaces, and Debian's etcd-server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::{Offers, peak_of_all, while_offering};
use super::node::{Loans, Node, PATIENCE, callgate, loans_of, member};
use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::resp::Client;
use crate::support::within;

/// The term of a chunk, in seconds.
const TTL_S: u64 = 5;
/// Three nodes of fifty calls per second.
const SUM: usize = 150;

/// One etcd, alone in its lane but for the nodes.
struct Etcd {
    process: Process,
    arguments: Vec<String>,
}

impl Etcd {
    fn start(lane: &Lane, scheme: &str, more: &[String]) -> Self {
        let mut arguments: Vec<String> = [
            "--name",
            "t",
            "--data-dir",
            "etcd",
            "--listen-client-urls",
            &format!("{scheme}://127.0.0.1:2379"),
            "--advertise-client-urls",
            &format!("{scheme}://127.0.0.1:2379"),
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:2380",
            "--initial-cluster",
            "t=http://127.0.0.1:2380",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend_from_slice(more);
        let process = lane.start("etcd", lane.command("etcd").args(&arguments));
        let etcd = Self { process, arguments };
        etcd.wait_ready();
        etcd
    }

    fn wait_ready(&self) {
        let ready = within(PATIENCE, || self.process.log().contains("ready to serve client requests"));
        assert!(ready, "etcd does not start:\n{}", self.process.log());
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self, lane: &Lane) {
        self.process = lane.start("etcd", lane.command("etcd").args(&self.arguments));
    }
}

fn text(lane: &Lane, name: &str, number: u8, license: &str, etcd: &str) -> String {
    let data = lane.path(&format!("data-{name}"));
    format!(
        "[node]\nname = \"{name}\"\ndata_dir = \"{data}\"\n[license]\nprofile = \"open\"\n{license}\n[listen]\n\
         resp = [\"127.0.0.{number}:7500\", \"unix:{data}/callgate.sock\"]\ndatagram = []\n\
         http = \"127.0.0.{number}:7501\"\ndrain_time = 0\n[cluster]\nledger = \"etcd\"\n[cluster.etcd]\n\
         ttl_s = {TTL_S}\n{etcd}\n",
        data = data.display(),
    )
}

const PLAIN: &str = "endpoints = \"http://127.0.0.1:2379\"";

/// Three nodes of fifty calls per second, of which so many percent never enter etcd.
fn nodes(lane: &Lane, keep_percent: u32) -> Vec<Node> {
    let start = |number| {
        let member = member(number);
        let etcd = format!("{PLAIN}\nkeep_percent = {keep_percent}");
        let text = text(lane, member.name, number, "count = 50", &etcd);
        Node::configured(lane, member, &text)
    };
    let nodes: Vec<Node> = (1..=3).map(start).collect();
    let there = within(PATIENCE, || nodes.iter().all(|node| loans_of(node, lane, "cps").lent > 0));
    assert!(there, "{}", nodes[0].cluster(lane));
    nodes
}

fn loads(nodes: &[Node], rates: &[u32]) -> Vec<(PathBuf, u32)> {
    nodes.iter().zip(rates).map(|(node, rate)| (node.socket(), *rate)).collect()
}

fn pause(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

fn holds(offers: &[Offers]) {
    let peak = peak_of_all(offers);
    assert!(peak <= SUM, "{peak} calls were admitted in one second, and the nodes brought in {SUM}");
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn a_skewed_load_is_admitted_up_to_what_all_brought_in_and_no_second_holds_more() {
    let lane = Lane::open("etcd-skew");
    let _etcd = Etcd::start(&lane, "http", &[]);
    let nodes = nodes(&lane, 0);
    let origin = Instant::now();
    let (from, offers) = while_offering(origin, &loads(&nodes, &[170, 5, 5]), false, || {
        pause(4);
        let from = origin.elapsed();
        pause(6);
        from
    });
    holds(&offers);
    let loaded = offers[0].admitted_within(from, Duration::from_secs(6));
    // Alone it would admit 300 in six seconds.
    assert!(loaded > 6 * 100, "the loaded node admitted {loaded} calls in six seconds");
    let idle = within(PATIENCE, || nodes.iter().all(|node| loans_of(node, &lane, "cps").borrowed == 0));
    assert!(idle, "nothing is held where nothing is used: {}", nodes[0].cluster(&lane));
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn what_a_killed_node_held_is_used_by_others_after_its_term_and_not_before() {
    let lane = Lane::open("etcd-kill");
    let _etcd = Etcd::start(&lane, "http", &[]);
    let mut nodes = nodes(&lane, 0);
    let origin = Instant::now();
    let loads = loads(&nodes, &[170, 170, 0]);
    let (from, offers) = while_offering(origin, &loads, false, || {
        pause(5);
        nodes[0].kill();
        pause(TTL_S + 5);
        let from = origin.elapsed();
        pause(4);
        nodes[0].restart(&lane);
        pause(4);
        from
    });
    holds(&offers);
    let other = offers[1].admitted_within(from, Duration::from_secs(4));
    assert!(other > 4 * 120, "the other node admitted {other} calls in four seconds");
    let log = nodes[1].log();
    assert!(log.contains("a dead node's chunk is free"), "{log}");
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn a_frozen_node_admits_nothing_of_a_chunk_that_others_took_meanwhile() {
    let lane = Lane::open("etcd-freeze");
    let _etcd = Etcd::start(&lane, "http", &[]);
    let nodes = nodes(&lane, 0);
    let origin = Instant::now();
    // The first has two thirds of all before the second, which would use all of it, begins.
    let ((from, others), mut offers) = while_offering(origin, &loads(&nodes[..1], &[100]), false, || {
        pause(4);
        while_offering(origin, &loads(&nodes[1..], &[170, 5]), false, || {
            pause(2);
            nodes[0].signal(Signal::STOP);
            pause(TTL_S + 5);
            let from = origin.elapsed();
            pause(3);
            nodes[0].signal(Signal::CONT);
            pause(4);
            from
        })
    });
    offers.extend(others);
    holds(&offers);
    assert!(offers[0].admitted() > 4 * 60, "it had a chunk: {}", offers[0].admitted());
    let taken = offers[1].admitted_within(from, Duration::from_secs(3));
    assert!(taken > 3 * 120, "and the other took it: {taken} calls in three seconds");
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn a_dead_etcd_changes_nothing_before_the_term_ends_and_then_what_was_kept_remains() {
    let lane = Lane::open("etcd-dead");
    let mut etcd = Etcd::start(&lane, "http", &[]);
    let nodes = nodes(&lane, 40);
    let origin = Instant::now();
    let ((before, without, after), offers) = while_offering(origin, &loads(&nodes, &[170, 5, 5]), false, || {
        pause(5);
        etcd.kill();
        let before = origin.elapsed();
        pause(2 * TTL_S);
        let without = origin.elapsed();
        pause(4);
        etcd.restart(&lane);
        pause(8);
        let after = origin.elapsed();
        pause(3);
        (before, without, after)
    });
    holds(&offers);
    let second = Duration::from_secs(1);
    let first = offers[0].admitted_within(before, second);
    // Twenty are kept here, ninety lie in etcd, of which the others use a few.
    assert!(first > 60, "{first} calls in the second after etcd was killed");
    let kept = offers[0].admitted_within(without, 3 * second);
    assert!((3 * 15..=3 * 20 + 20).contains(&kept), "{kept} calls in three seconds without etcd");
    let again = offers[0].admitted_within(after, 3 * second);
    assert!(again > 3 * 60, "{again} calls in three seconds after etcd came back");
    assert!(nodes[0].log().contains("etcd at http://127.0.0.1:2379"), "the endpoint is named: {}", nodes[0].log());
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn a_frozen_etcd_that_thaws_late_gives_nothing_twice() {
    let lane = Lane::open("etcd-thaw");
    let etcd = Etcd::start(&lane, "http", &[]);
    let nodes = nodes(&lane, 0);
    let loads = loads(&nodes, &[100, 100, 100]);
    let ((), offers) = while_offering(Instant::now(), &loads, false, || {
        pause(4);
        for seconds in [2, TTL_S + 3] {
            etcd.process.signal(Signal::STOP);
            pause(seconds);
            etcd.process.signal(Signal::CONT);
            pause(6);
        }
    });
    holds(&offers);
    let admitted: usize = offers.iter().map(Offers::admitted).sum();
    assert!(admitted > 10 * SUM, "they go on after each thaw: {admitted}");
}

fn session_node(lane: &Lane, number: u8) -> Node {
    let member = member(number);
    let text = text(
        lane,
        member.name,
        number,
        "count = 1000\nsessions = 10\noverage = false",
        &format!("{PLAIN}\nkeep_percent = 0"),
    );
    // Calls per second stay where they are: an idle node holds none, and its first ones would be refused.
    let text = text.replace("ledger = \"etcd\"", "ledger = \"etcd\"\nshare = \"session\"");
    Node::configured(lane, member, &text)
}

/// Starts so many calls; says how many were admitted.
fn calls(node: &Node, name: &str, count: usize) -> usize {
    let mut client = Client::connect(&node.socket()).expect("the node answers");
    let call = |number| {
        let id = format!("{name}{number}@x");
        client.ask(&["ADMIT", &id]).is_ok_and(|reply| reply.array().first().is_some_and(|one| one.integer() == 1))
    };
    (0..count).map(call).filter(|admitted| *admitted).count()
}

/// Tries until so many are admitted.
fn calls_until(node: &Node, name: &str, count: usize) {
    let (mut there, mut round) = (0, 0);
    let done = within(PATIENCE, || {
        round += 1;
        there += calls(node, &format!("{name}{round}-"), count - there);
        there == count
    });
    assert!(done, "{there} of {count} calls at {}: {}", node.member.name, node.log());
}

#[test]
#[ignore = "needs network namespaces and etcd; run by tests/run-all.sh"]
fn sessions_of_a_killed_node_are_free_only_when_an_operator_forgets_it() {
    let lane = Lane::open("etcd-sessions");
    let _etcd = Etcd::start(&lane, "http", &[]);
    let mut nodes: Vec<Node> = (1..=2).map(|number| session_node(&lane, number)).collect();
    calls_until(&nodes[0], "a", 15);
    nodes[0].kill();
    pause(TTL_S + 3);
    let others = calls(&nodes[1], "b", 30);
    pause(2);
    let others = others + calls(&nodes[1], "c", 30);
    assert!(others <= 5, "{others} sessions beside fifteen that may still run, of twenty");
    nodes[0].restart(&lane);
    let held = within(PATIENCE, || loans_of(&nodes[0], &lane, "session").borrowed >= 15);
    assert!(held, "its sessions are its own again: {}", nodes[0].cluster(&lane));
    nodes[0].kill();
    pause(TTL_S + 2);
    callgate(&lane, &["cluster", "forget", "sip-a", "--yes", "--admin", &nodes[1].admin()]);
    let said = within(PATIENCE, || nodes[1].log().contains("sip-a is forgotten; so many sessions of it may still run"));
    assert!(said, "{}", nodes[1].log());
    let Loans { home, .. } = loans_of(&nodes[1], &lane, "session");
    assert_eq!(home, 10);
    let all = calls(&nodes[1], "d", 30);
    pause(3);
    let all = others + all + calls(&nodes[1], "e", 30);
    assert!(all <= 10, "{all} sessions of the ten that are left");
    assert!(all > others, "what it held is free");
}
