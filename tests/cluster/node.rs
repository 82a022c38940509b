//! A member: `callgate serve` as a process of its own, with a loopback address of its own within one lane.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::resp::Client;
use crate::support::within;

/// How long something may take that takes a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn binary() -> PathBuf {
    // Another binary can be put in its place: a release build, a package.
    std::env::var_os("CALLGATE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_callgate").into()).into()
}

/// Runs a command of the program inside the lane to its end.
pub(crate) fn callgate(lane: &Lane, arguments: &[&str]) -> String {
    let output = lane.command(binary()).args(arguments).output().expect("callgate runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "callgate {} failed: {told}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

/// Makes an authority, and certificates of these names, in a directory of the lane.
pub(crate) fn authority(lane: &Lane, directory: &str, names: &[&str]) {
    callgate(lane, &["cluster", "ca", "init", directory]);
    for name in names {
        callgate(lane, &["cluster", "ca", "issue", name, directory]);
    }
}

/// How a member differs from the others.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// Its address is 127.0.0.N.
    pub(crate) number: u8,
    /// The directory of its certificates.
    pub(crate) certificates: &'static str,
    /// Calls per second that it holds.
    pub(crate) count: u32,
    /// Further lines of its configuration: of `[license]`, then whole sections.
    pub(crate) license: &'static str,
    pub(crate) further: &'static str,
}

/// `sip-a` at 127.0.0.1, `sip-b` at 127.0.0.2 and so on.
pub(crate) fn member(number: u8) -> Member {
    let names = ["sip-a", "sip-b", "sip-c", "sip-d", "sip-e"];
    let name = names[usize::from(number) - 1];
    Member { name, number, certificates: "ca", count: 50, license: "", further: "" }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) member: Member,
    process: Process,
    data_dir: PathBuf,
    config: PathBuf,
}

impl Node {
    pub(crate) fn start(lane: &Lane, member: Member, all: &[Member]) -> Self {
        let Member { name, number, certificates, count, license, further } = &member;
        let data_dir = lane.path(&format!("data-{name}"));
        let ca = lane.path(certificates);
        let peers: String = all
            .iter()
            .map(|peer| format!("[cluster.peers.{}]\naddress = \"127.0.0.{}:7503\"\n", peer.name, peer.number))
            .collect();
        let text = format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{data}\"\n[license]\nprofile = \"open\"\ncount = {count}\n{license}[listen]\n\
             resp = [\"127.0.0.{number}:7500\", \"unix:{data}/callgate.sock\"]\ndatagram = []\n\
             http = \"127.0.0.{number}:7501\"\ndrain_time = 0\n[cluster]\nlisten = \"127.0.0.{number}:7503\"\n\
             ca_file = \"{ca}/ca.pem\"\ncertificate_file = \"{ca}/{name}.pem\"\nkey_file = \"{ca}/{name}.key\"\n{peers}{further}",
            data = data_dir.display(),
            ca = ca.display(),
        );
        Self::configured(lane, member, &text)
    }

    /// A member with a configuration of its own, whose data lies in `data-NAME` of the lane.
    pub(crate) fn configured(lane: &Lane, member: Member, text: &str) -> Self {
        let data_dir = lane.path(&format!("data-{}", member.name));
        let config = lane.path(&format!("{}.toml", member.name));
        std::fs::write(&config, text).expect("the configuration can be written");
        let process = Self::spawn(lane, &member, &config);
        let mut node = Self { member, process, data_dir, config };
        node.wait_ready();
        node
    }

    fn spawn(lane: &Lane, member: &Member, config: &std::path::Path) -> Process {
        let mut command = lane.command(binary());
        // What a user's sidecars share outside of their state directories is each one's own here: these are many hosts.
        let state = lane.path(&format!("outside-{}", member.name));
        command.arg("serve").arg("--config").arg(config).env("XDG_STATE_HOME", state);
        lane.start(member.name, &mut command)
    }

    fn wait_ready(&mut self) {
        let socket = self.data_dir.join("callgate.sock");
        let ready = within(PATIENCE, || {
            self.process.running() && Client::connect(&socket).is_ok_and(|mut client| client.ask(&["PING"]).is_ok())
        });
        assert!(ready, "{} does not answer; its log:\n{}", self.member.name, self.process.log());
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Its state directory.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        &self.data_dir
    }

    /// Starts it and waits for its end: it must not start. Returns what it said.
    pub(crate) fn refused(&mut self, lane: &Lane) -> String {
        self.process = Self::spawn(lane, &self.member, &self.config);
        let status = self.process.wait(PATIENCE);
        assert!(!status.success(), "{} started", self.member.name);
        self.process.log()
    }

    pub(crate) fn restart(&mut self, lane: &Lane) {
        self.process = Self::spawn(lane, &self.member, &self.config);
        self.wait_ready();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Where it is asked.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data_dir.join("callgate.sock")
    }

    pub(crate) fn admin(&self) -> String {
        self.data_dir.join("admin.sock").display().to_string()
    }

    /// `GET /v1/cluster`, by the command that people use.
    pub(crate) fn cluster(&self, lane: &Lane) -> Value {
        let text = callgate(lane, &["cluster", "members", "--format", "json", "--admin", &self.admin()]);
        serde_json::from_str(&text).expect("JSON")
    }

    /// The state of a member as this one sees it.
    pub(crate) fn state_of(&self, lane: &Lane, name: &str) -> String {
        let cluster = self.cluster(lane);
        let found = members(&cluster).iter().find(|member| member["name"] == name);
        found.and_then(|member| member["state"].as_str()).unwrap_or("not told yet").to_owned()
    }

    pub(crate) fn wait_state(&self, lane: &Lane, name: &str, state: &str) {
        let there = within(PATIENCE, || self.state_of(lane, name) == state);
        assert!(there, "{name} is not {state} at {}: {}", self.member.name, self.cluster(lane));
    }

    /// Waits until it is connected with so many.
    pub(crate) fn wait_connected(&self, lane: &Lane, count: usize) {
        let there = within(PATIENCE, || {
            let cluster = self.cluster(lane);
            members(&cluster).iter().filter(|member| member["state"] == "connected").count() == count
        });
        assert!(there, "{} is not connected with {count}: {}", self.member.name, self.cluster(lane));
    }
}

/// What a node lends and borrows of a resource, in licenses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Loans {
    pub(crate) home: u64,
    pub(crate) lent: u64,
    pub(crate) borrowed: u64,
    pub(crate) limbo: u64,
    pub(crate) limit: u64,
}

pub(crate) fn loans_of(node: &Node, lane: &Lane, resource: &str) -> Loans {
    let cluster = node.cluster(lane);
    let resources = cluster["resources"].as_array().cloned().unwrap_or_default();
    let Some(found) = resources.into_iter().find(|of| of["resource"] == resource) else { return Loans::default() };
    let sum = |side: &str| -> u64 {
        let loans = found[side].as_object().cloned().unwrap_or_default();
        loans.values().filter_map(|loan| loan.as_u64().or_else(|| loan["licenses"].as_u64())).sum()
    };
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    Loans {
        home: number("home"),
        lent: sum("lent"),
        borrowed: sum("borrowed"),
        limbo: number("limbo"),
        limit: number("limit_units"),
    }
}

/// The members that it tells of: none while its driver starts.
fn members(cluster: &Value) -> &[Value] {
    cluster["members"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// So many members of one cluster, all connected.
pub(crate) fn cluster(lane: &Lane, count: u8) -> Vec<Node> {
    cluster_of(lane, &(1..=count).map(member).collect::<Vec<_>>())
}

/// These members of one cluster, all connected, none waiting for what another says.
pub(crate) fn cluster_of(lane: &Lane, members: &[Member]) -> Vec<Node> {
    let names: Vec<&str> = members.iter().map(|member| member.name).collect();
    authority(lane, "ca", &names);
    let nodes: Vec<Node> = members.iter().map(|member| Node::start(lane, member.clone(), members)).collect();
    for node in &nodes {
        node.wait_connected(lane, members.len() - 1);
        let counts = within(PATIENCE, || node.cluster(lane)["census_waits_for"].is_null());
        assert!(counts, "the census of {} does not end: {}", node.member.name, node.cluster(lane));
    }
    nodes
}
