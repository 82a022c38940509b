//! What many nodes ask of one etcd: the cores and the way to etcd are the sidecar's own, the gates are played. Prints figures.
//!
//! `CALLGATE_ETCD_NODES` and `CALLGATE_ETCD_SECONDS` set other sizes.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callgate::cluster::chunks::{Answer, ChunkSetup, Chunks, Op, Terms};
use callgate::cluster::*;
use callgate::limits::InUse;
use callgate::shell::cluster::etcd::ask;
use callgate::shell::config::Etcd;
use callgate::units::Tick;

use crate::support::process::Process;
use crate::support::within;

const FIRST: ResourceIndex = ResourceIndex(0);
/// Calls per second that each node brings in.
const HOME: u32 = 100;

#[derive(Default)]
struct Figures {
    grants: AtomicU64,
    transactions: AtomicU64,
    lost: AtomicU64,
    lists: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    micros_max: AtomicU64,
    offered: AtomicU64,
    admitted: AtomicU64,
}

/// A gate that is played: calls come evenly within each step.
#[derive(Default)]
struct Gate {
    lease: Option<Lease>,
    admitted: VecDeque<(Tick, u32)>,
    attempts: u32,
    refused: u32,
}

impl Gate {
    fn offer(&mut self, calls: u32, now: Tick) -> u32 {
        let limit = self.lease.map_or(0, |lease| lease.at(now));
        let free = limit.saturating_sub(self.used(FIRST, now).used);
        let admitted = calls.min(free);
        self.attempts += calls;
        self.refused += calls - admitted;
        self.admitted.push_back((now, admitted));
        while self.admitted.front().is_some_and(|(at, _)| at.plus_millis(1100) < now) {
            self.admitted.pop_front();
        }
        admitted
    }
}

impl Pools for Gate {
    fn used(&self, _: ResourceIndex, now: Tick) -> Used {
        let warm = self.admitted.iter().filter(|(at, _)| at.plus_millis(1002) > now);
        Used { used: warm.map(|(_, calls)| calls).sum(), forced: 0 }
    }

    fn take_offered(&mut self, _: ResourceIndex) -> Offered {
        Offered { attempts: std::mem::take(&mut self.attempts), refused: std::mem::take(&mut self.refused) }
    }

    fn set(&mut self, _: ResourceIndex, limit: Lease, _: Tick) {
        self.lease = Some(limit);
    }

    fn try_lower(&mut self, of: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        let used = self.used(of, now).used;
        if used > limit.at(now) {
            return Err(InUse { used });
        }
        self.lease = Some(limit);
        Ok(())
    }
}

/// Calls per second at a node: every five seconds another tenth of the nodes has five times as much as the rest.
fn load(node: usize, count: usize, second: u64) -> u32 {
    let shift = usize::try_from(second / 5).unwrap_or(0);
    let hot = (node + shift * 7).is_multiple_of(10) || count < 10 && node == shift % count;
    if hot { 300 } else { 60 }
}

async fn node(number: usize, count: usize, etcd: Etcd, origin: Instant, length: Duration, figures: Arc<Figures>) {
    let now = || Tick(u64::try_from(origin.elapsed().as_nanos()).unwrap() + 1_000_000_000_000);
    let id = ResourceId { name: "cps".into(), kind: Kind::Rate, class: Class::License };
    let setup = ChunkSetup {
        node: format!("n{number}").parse().unwrap(),
        ledger: LedgerId(u128::try_from(number).unwrap()),
        life: u64::try_from(number).unwrap() + 1,
        resources: vec![Resource { id, limit_max: None, headroom: 0 }],
        params: Parameters::default(),
        terms: Terms { keep_percent: 0, ..etcd.terms() },
    };
    let mut gate = Gate::default();
    let mut chunks = Chunks::new(setup, now(), &mut gate);
    chunks.handle_home(FIRST, Licenses(HOME / 5), now(), &mut gate);
    let (mut client, mut asking) = (None, None);
    let mut calls = 0.0;
    let mut stepped = origin.elapsed();
    let mut step = tokio::time::interval(Duration::from_millis(20));
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while origin.elapsed() < length {
        if asking.is_none()
            && let Some(request) = chunks.poll_request(now())
        {
            let counter = match &request.op {
                Op::Grant { .. } => &figures.grants,
                Op::Txn(_) => &figures.transactions,
                Op::List { .. } => &figures.lists,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let (etcd, client) = (etcd.clone(), client.take());
            let asked = Instant::now();
            asking = Some(tokio::spawn(async move { (request.number, ask(&etcd, client, request.op).await, asked) }));
        }
        tokio::select! {
            done = async { asking.as_mut().unwrap().await }, if asking.is_some() => {
                asking = None;
                let (number, done, asked) = done.unwrap();
                let micros = u64::try_from(asked.elapsed().as_micros()).unwrap();
                figures.micros.fetch_add(micros, Ordering::Relaxed);
                figures.micros_max.fetch_max(micros, Ordering::Relaxed);
                let answer = match done {
                    Ok((back, answer)) => {
                        client = Some(back);
                        figures.lost.fetch_add(u64::from(matches!(answer, Answer::Txn { won: false, .. })), Ordering::Relaxed);
                        answer
                    }
                    Err(_) => {
                        figures.failed.fetch_add(1, Ordering::Relaxed);
                        Answer::Failed
                    }
                };
                chunks.handle_answer(number, answer, now(), &mut gate);
            }
            _ = step.tick() => {
                let elapsed = origin.elapsed();
                calls += f64::from(load(number, count, elapsed.as_secs())) * (elapsed - stepped).as_secs_f64();
                stepped = elapsed;
                let whole = calls.floor();
                calls -= whole;
                let whole = format!("{whole}").parse().unwrap();
                let admitted = gate.offer(whole, now());
                figures.offered.fetch_add(u64::from(whole), Ordering::Relaxed);
                figures.admitted.fetch_add(u64::from(admitted), Ordering::Relaxed);
                chunks.handle_timeout(now(), &mut gate);
            }
        }
    }
}

#[test]
#[ignore = "needs etcd; run by tests/run-all.sh"]
fn many_nodes_ask_little_of_one_etcd() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (count, seconds) = (number("CALLGATE_ETCD_NODES", 100), number("CALLGATE_ETCD_SECONDS", 15));
    let dir = tempfile::tempdir().unwrap();
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [client, peer] = ports.map(|socket| format!("http://{}", socket.local_addr().unwrap()));
    let mut command = Command::new("etcd");
    command.args(["--name", "t", "--data-dir"]).arg(dir.path().join("etcd"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("t={peer}")]);
    let process = Process::start("etcd", &mut command, &dir.path().join("etcd.log"));
    let ready = within(Duration::from_secs(30), || process.log().contains("ready to serve client requests"));
    assert!(ready, "{}", process.log());
    let figures = Arc::new(Figures::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (origin, length) = (Instant::now(), Duration::from_secs(seconds));
    runtime.block_on(async {
        let nodes = usize::try_from(count).unwrap();
        let etcd = Etcd { endpoints: client, timeout_ms: 2000, ..Etcd::default() };
        let tasks: Vec<_> = (0..nodes)
            .map(|number| tokio::spawn(node(number, nodes, etcd.clone(), origin, length, Arc::clone(&figures))))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let get = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let (grants, transactions, lists) = (get(&figures.grants), get(&figures.transactions), get(&figures.lists));
    let all = (grants + transactions + lists).max(1);
    println!(
        "{count} nodes, {seconds} s, a tenth of them hot in turn: {all} requests ({} a second; a node {} a minute): {grants} \
         leases, {transactions} transactions of which {} lost, {lists} lists, {} failed; an answer takes {} us in the mean, \
         {} us at most; {} of {} calls admitted",
        all / seconds,
        all * 60 / seconds / count,
        get(&figures.lost),
        get(&figures.failed),
        get(&figures.micros) / all,
        get(&figures.micros_max),
        get(&figures.admitted),
        get(&figures.offered),
    );
    assert!(get(&figures.admitted) > get(&figures.offered) / 2, "most is admitted");
    assert!(get(&figures.failed) * 20 < all, "etcd keeps up");
}
