//! Drivers with real certificates, ledgers and QUIC over loopback, over pools in memory.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::admission::{Admit, CallId, Gate, NodePool};
use crate::cluster::{
    Hello, Incarnation, Kind, Lease, LedgerId, Message, NodeName, Offered, PROTOCOL_MAX, Pools, ResourceIndex, Used,
};
use crate::limits::InUse;
use crate::shell::clock::Clock;
use crate::shell::cluster::ca;
use crate::shell::cluster::handle::Request;
use crate::shell::cluster::identity::Identity;
use crate::shell::cluster::pools::{DriverPools, gate_pools};
use crate::shell::cluster::setup::{ClusterSetup, Surroundings, in_force, shared_pools};
use crate::shell::cluster::transport::{LinkEvent, Transport};
use crate::shell::config::{FlagValue, Inputs, Loaded, Loader};
use crate::shell::context::Context;
use crate::shell::journal::ShardJournal;
use crate::shell::telemetry::{AlarmId, Counters};
use crate::sync::Mutex;
use crate::units::{HashKey, Tick};

/// One pool in memory: what is in use is what the test says.
#[derive(Debug, Clone, Copy, Default)]
struct Pool {
    limit: u32,
    floor: u32,
    valid_until: Option<Tick>,
    used: u32,
    wanted: u32,
}

/// Pools that the test sees too.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<Pool>>>);

impl Memory {
    fn with<T>(&self, place: usize, with: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pools = self.0.lock();
        if pools.len() <= place {
            pools.resize(place + 1, Pool::default());
        }
        with(&mut pools[place])
    }
}

impl Pools for Memory {
    fn used(&self, resource: ResourceIndex, _now: Tick) -> Used {
        Used { used: self.with(resource.0, |pool| pool.used), forced: 0 }
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        self.with(resource.0, |pool| {
            let refused = pool.wanted.saturating_sub(pool.used);
            Offered { attempts: refused, refused }
        })
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) {
        self.with(resource.0, |pool| {
            (pool.limit, pool.floor, pool.valid_until) = (limit.limit, limit.floor, limit.valid_until);
        });
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) -> Result<(), InUse> {
        self.with(resource.0, |pool| {
            if pool.used > limit.limit {
                return Err(InUse { used: pool.used });
            }
            (pool.limit, pool.floor, pool.valid_until) = (limit.limit, limit.floor, limit.valid_until);
            Ok(())
        })
    }
}

impl DriverPools for Memory {
    fn arm_low_water(&mut self, _resource: ResourceIndex, _mark: u32) {}

    fn set_scarce(&mut self, _resource: ResourceIndex, _scarce: bool, _now: Tick) {}

    fn take_low_water(&mut self) -> Vec<ResourceIndex> {
        let pools = self.0.lock();
        let low = pools.iter().enumerate().filter(|(_, pool)| pool.wanted > pool.limit);
        low.map(|(place, _)| ResourceIndex(place)).collect()
    }
}

/// A free port, for as long as nobody else takes it.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A cluster in one process.
struct Rig {
    dir: tempfile::TempDir,
    ports: Vec<(&'static str, u16)>,
}

struct Node {
    context: Arc<Context>,
    supervisor: ClusterSupervisor,
}

impl Rig {
    fn new(names: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Clock.wall();
        ca::init(dir.path(), now).unwrap();
        for name in names {
            ca::issue(dir.path(), &name.parse().unwrap(), now).unwrap();
        }
        Self { dir, ports: names.iter().map(|name| (*name, free_port())).collect() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self, name: &str, further: &[(&str, &str)]) -> Loaded {
        let port = self.ports.iter().find(|(of, _)| *of == name).unwrap().1;
        let mut flags = vec![
            ("node.name".to_owned(), name.to_owned()),
            ("node.data_dir".to_owned(), self.path(&format!("state-{name}")).display().to_string()),
            ("cluster.listen".to_owned(), format!("127.0.0.1:{port}")),
            ("cluster.ca_file".to_owned(), self.path("ca.pem").display().to_string()),
            ("cluster.certificate_file".to_owned(), self.path(&format!("{name}.pem")).display().to_string()),
            ("cluster.key_file".to_owned(), self.path(&format!("{name}.key")).display().to_string()),
        ];
        for (peer, port) in &self.ports {
            flags.push((format!("cluster.peers.{peer}.address"), format!("127.0.0.1:{port}")));
        }
        flags.extend(further.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let flags = flags.into_iter().map(|(key, value)| FlagValue { flag: "--set".to_owned(), key, value }).collect();
        let inputs = Inputs { host_name: name.to_owned(), ..Inputs::default() };
        Loader { file: None, inputs, flags }.load().unwrap()
    }

    fn try_start(&self, name: &str, further: &[(&str, &str)]) -> Result<Node, ClusterError> {
        let theirs = Memory::default();
        self.try_start_over(name, further, MakePools(Arc::new(move |_, _| Box::new(theirs.clone()))))
    }

    /// With the gate's own limits.
    fn start_over_the_gate(&self, name: &str, further: &[(&str, &str)]) -> Node {
        self.try_start_over(name, further, MakePools(Arc::new(gate_pools))).unwrap()
    }

    fn try_start_over(&self, name: &str, further: &[(&str, &str)], make: MakePools) -> Result<Node, ClusterError> {
        let Loaded { config, .. } = self.load(name, further);
        let around = Surroundings { machine: "machine".to_owned(), outside: None };
        let setup = ClusterSetup::of(&config, &around).unwrap();
        let pools = shared_pools(&config);
        let (policy, homes) = in_force(&config, None, &pools);
        let gate = Gate::new(policy, config.bounds(), HashKey::from_bytes([7; 16]), 1, vec![ShardJournal::off()]);
        let context = Arc::new(Context::new(gate, config, Counters::default()));
        context.cluster.share(pools);
        context.cluster.set_homes(homes);
        let prepared = Prepared::open(setup, &context, &make)?;
        let supervisor = ClusterSupervisor::start(prepared, make, &context);
        Ok(Node { context, supervisor })
    }

    fn start(&self, name: &str, further: &[(&str, &str)]) -> Node {
        self.try_start(name, further).unwrap()
    }
}

impl Node {
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            self.supervisor.look(&self.context).await;
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} did not come: {:?}", self.context.cluster.status());
    }

    fn connected(&self) -> usize {
        let status = self.context.cluster.status();
        status.map_or(0, |status| status.members.iter().filter(|member| member.state == "connected").count())
    }

    fn incarnation(&self) -> u64 {
        self.context.cluster.status().map_or(0, |status| status.incarnation)
    }

    /// The limit for calls per second that is in force at the gate.
    fn limit(&self) -> u32 {
        self.context.gate.pool_limit(NodePool::Rate, self.context.clock.now()).unwrap()
    }

    fn offer(&self, number: u32) -> bool {
        let id = format!("{number}@{}", self.context.config.load().node.name);
        let admit = Admit::call(CallId::new(id.as_bytes()).unwrap());
        self.context.gate.admit(&admit, self.context.clock.now()).admitted
    }

    fn has(&self, id: AlarmId) -> bool {
        self.context.alarms.active().iter().any(|alarm| alarm.id == id)
    }

    async fn stop(self) {
        self.supervisor.stop(&self.context).await;
    }
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_and_each_says_so() {
    let rig = Rig::new(&["sip-a", "sip-b", "sip-c"]);
    let mut nodes: Vec<Node> = ["sip-a", "sip-b", "sip-c"].iter().map(|name| rig.start(name, &[])).collect();
    for node in &mut nodes {
        node.until("two members", |node| node.connected() == 2).await;
    }
    let status = nodes[0].context.cluster.status().unwrap();
    assert!(status.incarnation >= 1);
    let names: Vec<&str> = status.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["sip-b", "sip-c"], "a node's own entry is no member");
    let shares: Vec<(&str, Kind, u32)> =
        status.resources.iter().map(|of| (of.resource.as_str(), of.kind, of.granted.0)).collect();
    assert_eq!(shares, [("cps", Kind::Rate, 20)]);
    let gone = nodes.pop().unwrap();
    gone.stop().await;
    nodes[0].until("one member", |node| node.connected() == 1).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_panics_starts_again_from_its_ledger_in_a_new_incarnation() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    let mut a = rig.start("sip-a", &[]);
    let mut b = rig.start("sip-b", &[]);
    a.until("a member, and its own licenses", |node| {
        let status = node.context.cluster.status();
        node.connected() == 1 && status.is_some_and(|status| status.census_waits_for.is_none())
    })
    .await;
    let before = a.incarnation();
    a.context.cluster.send(Request::Panic).await.unwrap();
    a.until("the alarm", |node| node.has(AlarmId::ClusterDown)).await;
    a.until("a new life", |node| node.incarnation() == before + 1 && !node.has(AlarmId::ClusterDown)).await;
    a.until("a member", |node| node.connected() == 1).await;
    b.until("a new life over there", |node| {
        node.context.cluster.status().is_some_and(|status| status.members[0].state == "connected")
    })
    .await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_on_a_ledger_or_a_certificate_that_is_not_its_own() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    rig.start("sip-a", &[]).stop().await;
    let ledger = rig.path("state-sip-a").join("cluster/ledger.redb");
    let bytes = std::fs::read(&ledger).unwrap();
    std::fs::write(&ledger, &bytes[..bytes.len() / 2]).unwrap();
    let told = rig.try_start("sip-a", &[]).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("is damaged") && told.contains("move ledger.redb"), "{told}");
    std::fs::write(&ledger, &bytes).unwrap();
    let other = rig.path("sip-b.pem").display().to_string();
    let told = rig.try_start("sip-a", &[("cluster.certificate_file", &other)]).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("cluster.certificate_file") && told.contains("sip-b"), "{told}");
    rig.start("sip-a", &[]).stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_not_there_is_told_once_it_is_lost_and_cleared_when_it_comes() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    let mut a = rig.start("sip-a", &[("cluster.parameters.lost_after_ms", "1000")]);
    a.until("the alarm", |node| node.has(AlarmId::ClusterPeerLost)).await;
    let status = a.context.cluster.status().unwrap();
    assert_eq!(status.members[0].state, "lost");
    let b = rig.start("sip-b", &[]);
    a.until("its end", |node| node.connected() == 1 && !node.has(AlarmId::ClusterPeerLost)).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_about_an_unknown_member_is_refused_with_those_that_are_known() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    let a = rig.start("sip-a", &[]);
    let told = a.context.cluster.forget(name("sip-x")).await.unwrap_err().to_string();
    assert!(told.contains("sip-x is no member") && told.contains("sip-b"), "{told}");
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_runs_low_borrows_and_a_driver_that_starts_anew_leaves_no_limit_above_what_it_holds() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    let mut a = rig.start_over_the_gate("sip-a", &[]);
    let mut b = rig.start_over_the_gate("sip-b", &[]);
    for node in [&mut a, &mut b] {
        node.until("its own licenses", |node| node.limit() == 100).await;
    }
    let mut number = 0;
    let mut borrowed = false;
    for _ in 0..400 {
        for _ in 0..20 {
            number += 1;
            a.offer(number);
        }
        borrowed = a.limit() > 100;
        if borrowed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(borrowed, "nothing was borrowed: {:?}", a.context.cluster.status());
    a.context.cluster.send(Request::Panic).await.unwrap();
    a.until("the alarm", |node| node.has(AlarmId::ClusterDown)).await;
    a.until("a new life", |node| !node.has(AlarmId::ClusterDown) && node.limit() <= 100).await;
    b.until("what was lent", |node| node.limit() == 100).await;
    a.until("its own licenses", |node| node.limit() == 100).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shared_with_a_member_that_speaks_another_version() {
    let rig = Rig::new(&["sip-a", "sip-b"]);
    let mut a = rig.start("sip-a", &[]);
    let config = rig.load("sip-b", &[]).config;
    let setup = ClusterSetup::of(&config, &Surroundings { machine: "machine".to_owned(), outside: None }).unwrap();
    let identity = Identity::read(&setup.files, &setup.node, Clock.wall()).unwrap();
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let old = Transport::start(Transport::bind(setup.listen).unwrap(), identity, &setup.peers, sender).unwrap();
    let hello = Hello {
        proto_min: PROTOCOL_MAX + 1,
        proto_max: PROTOCOL_MAX + 7,
        node: name("sip-b"),
        ledger: LedgerId(7),
        inc: Incarnation(1),
        life: 1,
        asks: false,
        resources: Vec::new(),
    };
    while !matches!(events.recv().await, Some(LinkEvent::Up(_))) {}
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    old.send(&name("sip-a"), &Message::Hello(hello)).unwrap();
    a.until("the refusal", |node| {
        let status = node.context.cluster.status();
        status.is_some_and(|status| status.members[0].refused == Some("speaks another version"))
    })
    .await;
    assert!(a.context.cluster.status().unwrap().census_waits_for.is_some(), "it hasn't said what it holds");
    a.stop().await;
}
