//! Members lend one another calls per second and sessions: a skewed load uses what the cluster bought, and whatever happens
//! to members, links and processes, all together never admit more.

use std::time::{Duration, Instant};

use super::load::{Offers, peak_of_all, while_offering};
use rustix::process::Signal;

use super::node::{Member, Node, PATIENCE, callgate, cluster, cluster_of, loans_of, member};
use crate::support::lane::Lane;
use crate::support::resp::Client;
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
    let home = within(PATIENCE, || nodes.iter().all(|node| loans_of(node, &lane, "cps").lent == 0));
    assert!(home, "{}", nodes[1].cluster(&lane));
}

fn nft(lane: &Lane, rule: &str) {
    let output = lane.run("nft", &[rule]);
    assert!(output.status.success(), "nft {rule}: {}", String::from_utf8_lossy(&output.stderr));
}

fn wait_borrowed(node: &Node, lane: &Lane) {
    let borrowed = within(PATIENCE, || loans_of(node, lane, "cps").borrowed > 0);
    assert!(borrowed, "{} borrows nothing: {}", node.member.name, node.cluster(lane));
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_lender_and_then_a_borrower_that_are_killed_and_come_back_make_no_second_hold_more() {
    let lane = Lane::open("cluster-lend-kill");
    let mut nodes = cluster(&lane, 3);
    let loads = loads(&nodes, &[170, 60, 60]);
    let origin = Instant::now();
    let ((), offers) = while_offering(origin, &loads, false, || {
        for victim in [1, 0] {
            std::thread::sleep(Duration::from_secs(2));
            nodes[victim].kill();
            std::thread::sleep(Duration::from_secs(1));
            nodes[victim].restart(&lane);
        }
        std::thread::sleep(Duration::from_secs(6));
    });
    holds(&offers, SUM);
    assert!(offers[0].admitted() > 250, "the loaded node admitted {}", offers[0].admitted());
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_lender_and_a_borrower_that_are_frozen_and_wake_up_admit_nothing_on_loans_that_are_over() {
    let lane = Lane::open("cluster-lend-freeze");
    let nodes = cluster(&lane, 3);
    let origin = Instant::now();
    let ((), offers) = while_offering(origin, &loads(&nodes, &[170, 20, 20]), false, || {
        wait_borrowed(&nodes[0], &lane);
        // Beyond the term of a loan of calls per second.
        for frozen in [0, 1] {
            nodes[frozen].signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(3500));
            nodes[frozen].signal(Signal::CONT);
            std::thread::sleep(Duration::from_secs(2));
        }
        wait_borrowed(&nodes[0], &lane);
    });
    holds(&offers, SUM);
}

#[test]
#[ignore = "needs network namespaces and nftables; run by tests/run-all.sh"]
fn cut_links_lost_packets_and_a_flood_of_garbage_make_no_second_hold_more_and_lending_goes_on() {
    let lane = Lane::open("cluster-lend-cut");
    let nodes = cluster(&lane, 3);
    let origin = Instant::now();
    let ((), offers) = while_offering(origin, &loads(&nodes, &[170, 30, 5]), false, || {
        wait_borrowed(&nodes[0], &lane);
        nft(&lane, "add table inet cut");
        nft(&lane, "add chain inet cut incoming { type filter hook input priority 0; }");
        // One node from both others, in the middle of its loans.
        nft(&lane, "add rule inet cut incoming ip saddr 127.0.0.1 ip daddr != 127.0.0.1 udp dport 7503 drop");
        nft(&lane, "add rule inet cut incoming ip daddr 127.0.0.1 ip saddr != 127.0.0.1 udp dport 7503 drop");
        let ended = within(PATIENCE, || loans_of(&nodes[0], &lane, "cps").borrowed == 0);
        assert!(ended, "a loan outlives its term: {}", nodes[0].cluster(&lane));
        nft(&lane, "flush chain inet cut incoming");
        wait_borrowed(&nodes[0], &lane);
        nft(&lane, "add rule inet cut incoming udp dport 7503 numgen random mod 100 < 25 drop");
        std::thread::sleep(Duration::from_secs(4));
        nft(&lane, "delete table inet cut");
        let flood = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nfor i in range(30000):\n \
                     s.sendto(os.urandom(i%1400),('127.0.0.1',7503))\n";
        assert!(lane.run("python3", &["-c", flood]).status.success());
        wait_borrowed(&nodes[0], &lane);
    });
    holds(&offers, SUM);
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_drained_member_gets_back_what_it_lent_and_lends_again_when_it_is_undrained() {
    let lane = Lane::open("cluster-drain");
    let nodes = cluster(&lane, 2);
    let origin = Instant::now();
    let ((), offers) = while_offering(origin, &loads(&nodes, &[95, 0]), false, || {
        wait_borrowed(&nodes[0], &lane);
        let told = callgate(&lane, &["cluster", "drain", "--admin", &nodes[1].admin()]);
        assert!(told.contains("lent ones are wanted back"), "{told}");
        let drained = within(PATIENCE, || nodes[1].cluster(&lane)["drained"] == true);
        assert!(drained, "{}", nodes[1].cluster(&lane));
        assert_eq!((loans_of(&nodes[1], &lane, "cps").lent, loans_of(&nodes[1], &lane, "cps").home), (0, 10));
        assert!(callgate(&lane, &["cluster", "members", "--admin", &nodes[1].admin()]).contains("drained"));
        assert_eq!(loans_of(&nodes[0], &lane, "cps").borrowed, 0);
        callgate(&lane, &["cluster", "undrain", "--admin", &nodes[1].admin()]);
        wait_borrowed(&nodes[0], &lane);
    });
    holds(&offers, 100);
}

fn of_sessions(number: u8) -> Member {
    Member { count: 1000, license: "sessions = 20\noverage = false\n", ..member(number) }
}

/// Opens sessions until so many attempts in a row were refused. Returns how many were admitted.
fn open(node: &Node, name: &str, most: usize) -> Vec<String> {
    let mut client = Client::connect(&node.socket()).expect("the node answers");
    let mut opened = Vec::new();
    let mut refused = 0;
    for number in 0.. {
        if refused == 40 || opened.len() == most {
            break;
        }
        let id = format!("{name}-{number}@test");
        let answer = client.ask(&["ADMIT", &id]).expect("an answer");
        if answer.array().first().is_some_and(|first| first.integer() == 1) {
            client.ask(&["CONFIRM", &id]).expect("an answer");
            opened.push(id);
            refused = 0;
        } else {
            refused += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    opened
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn sessions_are_lent_and_no_kill_in_the_middle_of_it_opens_one_too_many() {
    let lane = Lane::open("cluster-sessions");
    let members: Vec<Member> = (1..=3).map(of_sessions).collect();
    let mut nodes = cluster_of(&lane, &members);
    // More than its own, and room for more.
    let mut opened = open(&nodes[0], "first", 35);
    assert_eq!(opened.len(), 35, "{}", nodes[0].cluster(&lane));
    let borrowed = within(PATIENCE, || loans_of(&nodes[0], &lane, "session").borrowed >= 15);
    assert!(borrowed, "{}", nodes[0].cluster(&lane));
    // The borrower, with its calls; then a lender, with its loans.
    nodes[0].kill();
    nodes[0].restart(&lane);
    nodes[0].wait_connected(&lane, 2);
    opened.extend(open(&nodes[0], "second", 5));
    nodes[1].kill();
    let others = open(&nodes[2], "third", usize::MAX);
    nodes[1].restart(&lane);
    nodes[1].wait_connected(&lane, 2);
    let mut live = vec![(0, opened), (2, others)];
    let count = |live: &[(usize, Vec<String>)]| live.iter().map(|(_, ids)| ids.len()).sum::<usize>();
    // However long the members take to learn again who has what: never one too many, and nothing stays out of use.
    let used = within(PATIENCE * 4, || {
        for (of, node) in nodes.iter().enumerate() {
            live.push((of, open(node, &format!("later-{}-{of}", live.len()), usize::MAX)));
            assert!(count(&live) <= 60, "{} sessions live, and the cluster bought 60", count(&live));
        }
        count(&live) >= 57
    });
    assert!(used, "{} sessions live of 60: too many are out of use", count(&live));
    for (node, ids) in &live {
        let mut client = Client::connect(&nodes[*node].socket()).expect("the node answers");
        for id in ids {
            client.ask(&["RELEASE", id]).expect("an answer");
        }
    }
    let most = PATIENCE * 4;
    let home = within(most, || nodes.iter().all(|node| loans_of(node, &lane, "session").lent == 0));
    assert!(home, "{}\n{}", nodes[1].cluster(&lane), nodes[2].cluster(&lane));
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn export_control_over_a_cluster_holds_all_members_together_to_its_limit() {
    let lane = Lane::open("cluster-export");
    let capped = |number: u8| Member {
        count: 1000,
        further: "[admission.export_control]\nenabled = true\nlimit = 40\nlimit_with_webrtc = 36\nwebrtc_limit = 4\n\
                  scope = 'cluster'\nshare = 20\n",
        ..member(number)
    };
    let nodes = cluster_of(&lane, &[capped(1), capped(2)]);
    let opened = open(&nodes[0], "one", 30);
    assert_eq!(opened.len(), 30, "what the other doesn't use: {}", nodes[0].cluster(&lane));
    let others = open(&nodes[1], "two", usize::MAX);
    let more = open(&nodes[0], "three", usize::MAX);
    let all = opened.len() + others.len() + more.len();
    assert!(all <= 40, "{all} sessions under a cap of 40");
    assert!(all >= 38, "{all} sessions of 40");
    let status = callgate(&lane, &["cluster", "loans", "--admin", &nodes[0].admin()]);
    assert!(status.contains("export-control"), "{status}");
}
