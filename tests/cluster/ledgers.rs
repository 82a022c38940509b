//! Ledgers that are gone, put back from yesterday, or copied: what a node may not begin with, and what its peers make of it.

use std::path::Path;

use super::node::{PATIENCE, callgate, cluster, loans_of};
use crate::support::lane::Lane;
use crate::support::within;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory is read") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file is copied");
    }
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_ledger_of_yesterday_is_refused_and_a_new_one_waits_for_what_the_members_say() {
    let lane = Lane::open("cluster-yesterday");
    let mut nodes = cluster(&lane, 3);
    nodes[2].kill();
    let (place, yesterday) = (nodes[2].data_dir().join("cluster"), lane.path("yesterday"));
    copy(&place, &yesterday);
    nodes[2].restart(&lane);
    nodes[2].wait_connected(&lane, 2);
    nodes[2].kill();
    std::fs::remove_dir_all(&place).expect("removed");
    copy(&yesterday, &place);
    let told = nodes[2].refused(&lane);
    assert!(told.contains("restored from a backup"), "{told}");
    // As it says: both files away. One member is not there, so the new ledger's licenses wait for it.
    std::fs::remove_dir_all(&place).expect("removed");
    nodes[1].kill();
    nodes[2].restart(&lane);
    nodes[2].wait_connected(&lane, 1);
    let waits = within(PATIENCE, || nodes[2].cluster(&lane)["census_waits_for"][0] == "sip-b");
    assert!(waits, "{}", nodes[2].cluster(&lane));
    assert_eq!(loans_of(&nodes[2], &lane, "cps").home, 0);
    nodes[1].restart(&lane);
    let counts = within(PATIENCE, || loans_of(&nodes[2], &lane, "cps").home == 10);
    assert!(counts, "{}", nodes[2].cluster(&lane));
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_member_that_is_gone_for_good_is_forgotten_and_one_that_runs_is_not() {
    let lane = Lane::open("cluster-forget");
    let mut nodes = cluster(&lane, 3);
    let forget = |yes: bool| {
        let admin = nodes[0].admin();
        let mut arguments = vec!["cluster", "forget", "sip-c", "--admin", &admin];
        arguments.extend(yes.then_some("--yes"));
        let mut command = lane.command(super::node::binary());
        let output = command.args(arguments).output().expect("callgate runs");
        (output.status.success(), format!("{output:?}"))
    };
    let (done, told) = forget(true);
    assert!(!done && told.contains("is connected"), "{told}");
    let (done, told) = forget(false);
    assert!(!done && told.contains("--yes"), "{told}");
    nodes[2].kill();
    nodes[0].wait_state(&lane, "sip-c", "disconnected");
    let text = callgate(&lane, &["cluster", "forget", "sip-c", "--yes", "--admin", &nodes[0].admin()]);
    assert!(text.contains("is forgotten"), "{text}");
}

#[test]
#[ignore = "needs network namespaces; run by tests/run-all.sh"]
fn a_ledger_that_was_copied_to_a_second_node_is_noticed_and_nothing_is_shared_with_it() {
    let lane = Lane::open("cluster-copied");
    let mut nodes = cluster(&lane, 3);
    for victim in [1, 2] {
        nodes[victim].kill();
    }
    let (from, to) = (nodes[1].data_dir().join("cluster"), nodes[2].data_dir().join("cluster"));
    std::fs::remove_dir_all(&to).expect("removed");
    copy(&from, &to);
    nodes[1].restart(&lane);
    nodes[2].restart(&lane);
    let refused = within(PATIENCE, || {
        let cluster = nodes[0].cluster(&lane);
        let members = cluster["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["refused"] == "its ledger is used twice")
    });
    assert!(refused, "{}", nodes[0].cluster(&lane));
    let alarms = callgate(&lane, &["alarms", "--admin", &nodes[0].admin()]);
    assert!(alarms.contains("CLUSTER_NAME_TWICE") && alarms.contains("copied"), "{alarms}");
}
