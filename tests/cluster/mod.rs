//! A cluster of real processes in one network namespace: members that are killed, frozen, cut off, in possession of the wrong
//! certificate, and shouted at.
//!
//! `tests/run-all.sh` runs them; they need root for the namespaces, and Debian's nftables.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod etcd_load;
mod ledgers;
mod lending;
mod load;
mod node;

use node::{Member, Node, authority, callgate, cluster, member};
use rustix::process::Signal;

use crate::support::lane::Lane;
use crate::support::within;

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_killed_member_comes_back_in_a_new_incarnation() {
    let lane = Lane::open("cluster-kill");
    let mut nodes = cluster(&lane, 3);
    let before = nodes[2].cluster(&lane)["incarnation"].as_u64().unwrap();
    nodes[2].kill();
    nodes[0].wait_state(&lane, "sip-c", "disconnected");
    nodes[2].restart(&lane);
    nodes[2].wait_connected(&lane, 2);
    nodes[0].wait_connected(&lane, 2);
    assert_eq!(nodes[2].cluster(&lane)["incarnation"], before + 1);
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_frozen_member_is_noticed_and_taken_back() {
    let lane = Lane::open("cluster-freeze");
    let nodes = cluster(&lane, 2);
    let before = nodes[1].cluster(&lane)["incarnation"].clone();
    nodes[1].signal(Signal::STOP);
    nodes[0].wait_state(&lane, "sip-b", "disconnected");
    nodes[1].signal(Signal::CONT);
    nodes[0].wait_connected(&lane, 1);
    nodes[1].wait_connected(&lane, 1);
    assert_eq!(nodes[1].cluster(&lane)["incarnation"], before, "a pause is no restart");
}

#[test]
#[ignore = "needs network namespaces and nftables; run by tests/run-all.sh"]
fn a_cut_link_is_noticed_on_both_sides_and_heals_while_the_others_stay_connected() {
    let lane = Lane::open("cluster-cut");
    let nodes = cluster(&lane, 3);
    let nft = |rule: &str| {
        let output = lane.run("nft", &[rule]);
        assert!(output.status.success(), "nft {rule}: {}", String::from_utf8_lossy(&output.stderr));
    };
    nft("add table inet cut");
    nft("add chain inet cut incoming { type filter hook input priority 0; }");
    nft("add rule inet cut incoming ip saddr 127.0.0.1 ip daddr 127.0.0.2 udp dport 7503 drop");
    nft("add rule inet cut incoming ip saddr 127.0.0.2 ip daddr 127.0.0.1 udp dport 7503 drop");
    nodes[0].wait_state(&lane, "sip-b", "disconnected");
    nodes[1].wait_state(&lane, "sip-a", "disconnected");
    assert_eq!(nodes[0].state_of(&lane, "sip-c"), "connected");
    assert_eq!(nodes[1].state_of(&lane, "sip-c"), "connected");
    nft("delete table inet cut");
    nodes[0].wait_connected(&lane, 2);
    nodes[1].wait_connected(&lane, 2);
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_member_with_a_certificate_of_another_authority_is_refused_and_named() {
    let lane = Lane::open("cluster-foreign");
    let members = [member(1), Member { certificates: "other", ..member(2) }];
    authority(&lane, "ca", &["sip-a"]);
    authority(&lane, "other", &["sip-b"]);
    let nodes = members.clone().map(|member| Node::start(&lane, member, &members));
    let told = within(node::PATIENCE, || {
        let log = nodes[0].log();
        log.contains("a peer is refused") && log.contains("another authority") && log.contains("sip-b")
    });
    assert!(told, "{}", nodes[0].log());
    assert_eq!(nodes[0].state_of(&lane, "sip-b"), "disconnected");
    // The log tells of it while the handshake still ends.
    let text = || callgate(&lane, &["cluster", "members", "--admin", &nodes[0].admin()]);
    let shown = within(node::PATIENCE, || text().contains("another authority issued its certificate"));
    assert!(shown, "{}", text());
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_flood_of_garbage_at_the_cluster_port_changes_nothing() {
    let lane = Lane::open("cluster-garbage");
    let nodes = cluster(&lane, 2);
    // From inside the lane: the namespace of this thread alone is another one.
    let flood = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nfor i in range(50000):\n \
                 s.sendto(os.urandom(i%1400),('127.0.0.1',7503))\n";
    let output = lane.run("python3", &["-c", flood]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(nodes[0].state_of(&lane, "sip-b"), "connected");
    assert_eq!(nodes[1].state_of(&lane, "sip-a"), "connected");
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn certificates_are_renewed_by_a_reload() {
    let lane = Lane::open("cluster-renew");
    let nodes = cluster(&lane, 2);
    let ends = |node: &Node, name: &str| {
        let cluster = node.cluster(&lane);
        let members = cluster["members"].as_array().unwrap().clone();
        members.iter().find(|member| member["name"] == name).unwrap()["certificate_expires"].as_u64()
    };
    let before = ends(&nodes[0], "sip-b").unwrap();
    let life = nodes[1].cluster(&lane)["incarnation"].clone();
    for end in ["pem", "key"] {
        std::fs::remove_file(lane.path("ca").join(format!("sip-b.{end}"))).unwrap();
    }
    // Certificates know seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    callgate(&lane, &["cluster", "ca", "issue", "sip-b", "ca"]);
    callgate(&lane, &["reload", "--admin", &nodes[1].admin()]);
    let renewed = within(node::PATIENCE, || ends(&nodes[0], "sip-b").is_some_and(|after| after > before));
    assert!(renewed, "{}", nodes[0].cluster(&lane));
    nodes[1].wait_connected(&lane, 1);
    assert_eq!(nodes[1].cluster(&lane)["incarnation"], life, "nothing was restarted");
}
