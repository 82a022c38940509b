//! A few nodes and one engine on clocks and a wire that the test commands.

use std::collections::VecDeque;
use std::sync::Arc;

use super::engine::Engine;
use crate::cluster::chunks::{Answer, ChunkEvent, ChunkSetup, ChunkView, Chunks, Op, Terms};
use crate::cluster::*;
use crate::limits::InUse;
use crate::units::{NANOS_PER_SECOND, Tick};

pub(super) const MS: u64 = 1_000_000;

/// One pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    rate: bool,
    lease: Option<Lease>,
    stamps: VecDeque<Tick>,
    live: u32,
    window: u64,
    attempts: u32,
    refused: u32,
}

impl Pools for Desk {
    fn used(&self, _: ResourceIndex, now: Tick) -> Used {
        let warm = self.stamps.iter().filter(|stamp| stamp.plus_nanos(self.window) > now).count();
        Used { used: if self.rate { u32::try_from(warm).unwrap() } else { self.live }, forced: 0 }
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

pub(super) struct Node {
    pub(super) chunks: Chunks,
    pub(super) desk: Desk,
    pub(super) life: u64,
    under_way: Option<u64>,
    pub(super) events: Vec<ChunkEvent>,
}

/// A request on its way to the engine, or an answer back.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Ask { node: usize, life: u64, number: u64, op: Op },
    Answer { node: usize, life: u64, number: u64, answer: Answer },
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) drift: Vec<i64>,
    pub(super) engine: Engine,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) wire: Vec<(u64, Packet)>,
    pub(super) homes: Vec<u32>,
    pub(super) resource: Resource,
    pub(super) terms: Terms,
    /// Real admissions: when, and by whom.
    pub(super) admitted: Vec<(u64, usize)>,
    /// Real sessions: those of a dead node go on.
    pub(super) calls: Vec<u32>,
    pub(super) ledgers: Vec<u128>,
    lives: u64,
    pub(super) asked: u64,
}

const FIRST: ResourceIndex = ResourceIndex(0);

pub(super) fn resource(kind: Kind, class: Class) -> Resource {
    Resource { id: ResourceId { name: Arc::from("x"), kind, class }, limit_max: None, headroom: 0 }
}

pub(super) fn name(node: usize) -> NodeName {
    format!("n{node}").parse().unwrap()
}

impl World {
    pub(super) fn new(homes: &[u32], resource: Resource, keep_percent: u32) -> Self {
        let count = homes.len();
        Self {
            now: 1_000_000 * MS,
            drift: vec![0; count],
            engine: Engine { revision: 1, ..Engine::default() },
            nodes: (0..count).map(|_| None).collect(),
            wire: Vec::new(),
            homes: homes.to_vec(),
            resource,
            terms: Terms { ttl_s: 5, keep_percent, ..Terms::default() },
            admitted: Vec::new(),
            calls: vec![0; count],
            ledgers: (1..=u128::try_from(count).unwrap()).collect(),
            lives: 0,
            asked: 0,
        }
    }

    pub(super) fn started(homes: &[u32], resource: Resource) -> Self {
        let mut world = Self::new(homes, resource, 0);
        (0..homes.len()).for_each(|node| world.start(node));
        world
    }

    pub(super) fn rate(&self) -> bool {
        self.resource.id.kind == Kind::Rate
    }

    pub(super) fn local(&self, node: usize) -> Tick {
        let real = i128::from(self.now);
        Tick(u64::try_from(real + real * i128::from(self.drift[node]) / 1_000_000).unwrap())
    }

    pub(super) fn start(&mut self, node: usize) {
        let (now, params) = (self.local(node), Parameters::default());
        let window = params.window_nanos();
        let rate = self.rate();
        let recent = self.admitted.iter().filter(|(at, by)| *by == node && *at + 2 * window > self.now);
        let stamps = recent.map(|(at, _)| Tick(now.0 - (self.now - at))).collect();
        let live = if rate { 0 } else { self.calls[node] };
        let mut desk = Desk { rate, window, stamps, live, ..Desk::default() };
        self.lives += 1;
        let setup = ChunkSetup {
            node: name(node),
            ledger: LedgerId(self.ledgers[node]),
            life: self.lives,
            resources: vec![self.resource.clone()],
            params,
            terms: self.terms.clone(),
        };
        let mut chunks = Chunks::new(setup, now, &mut desk);
        chunks.handle_home(FIRST, Licenses(self.homes[node]), now, &mut desk);
        self.nodes[node] = Some(Node { chunks, desk, life: self.lives, under_way: None, events: Vec::new() });
        self.step_node(node);
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    pub(super) fn node(&mut self, node: usize) -> &mut Node {
        self.nodes[node].as_mut().unwrap()
    }

    /// Sends what a node has to ask.
    pub(super) fn step_node(&mut self, node: usize) {
        let now = self.local(node);
        let Some(live) = self.nodes[node].as_mut() else { return };
        if now >= live.chunks.poll_timeout() {
            live.chunks.handle_timeout(now, &mut live.desk);
        }
        while let Some(event) = live.chunks.poll_event() {
            live.events.push(event);
        }
        if let Some(request) = live.chunks.poll_request(now) {
            live.under_way = Some(request.number);
            self.asked += 1;
            let packet = Packet::Ask { node, life: live.life, number: request.number, op: request.op };
            self.wire.push((self.now, packet));
        }
    }

    /// What lies at a place of the wire arrives.
    pub(super) fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Ask { node, life, number, op } => {
                let answer = self.engine.apply(&op, self.now);
                self.wire.push((self.now, Packet::Answer { node, life, number, answer }));
            }
            Packet::Answer { node, life, number, answer } => self.answered(node, life, number, answer),
        }
    }

    fn answered(&mut self, node: usize, life: u64, number: u64, answer: Answer) {
        let now = self.local(node);
        if let Some(live) = self.nodes[node].as_mut().filter(|live| live.life == life) {
            if live.under_way == Some(number) {
                live.under_way = None;
            }
            live.chunks.handle_answer(number, answer, now, &mut live.desk);
            self.step_node(node);
        }
    }

    /// A node waits no longer. What it asked may still arrive.
    pub(super) fn give_up(&mut self, node: usize) {
        if let Some((life, number)) = self.nodes[node].as_ref().and_then(|live| Some((live.life, live.under_way?))) {
            self.answered(node, life, number, Answer::Failed);
        }
    }

    pub(super) fn offer(&mut self, node: usize) -> bool {
        let now = self.local(node);
        let Some(live) = self.nodes[node].as_mut() else { return false };
        live.desk.attempts += 1;
        let admitted = live.desk.used(FIRST, now).used < live.desk.lease.map_or(0, |lease| lease.at(now));
        if admitted {
            self.admitted.push((self.now, node));
            if self.resource.id.kind == Kind::Rate {
                live.desk.stamps.push_back(now);
            } else {
                live.desk.live += 1;
                self.calls[node] += 1;
            }
        } else {
            live.desk.refused += 1;
            live.chunks.handle_low_water(FIRST, now, &mut live.desk);
            self.step_node(node);
        }
        admitted
    }

    pub(super) fn end(&mut self, node: usize) {
        if let Some(live) = self.nodes[node].as_mut()
            && self.calls[node] > 0
        {
            self.calls[node] -= 1;
            live.desk.live -= 1;
        }
    }

    pub(super) fn set_home(&mut self, node: usize, count: u32) {
        self.homes[node] = count;
        let now = self.local(node);
        if let Some(live) = self.nodes[node].as_mut() {
            live.chunks.handle_home(FIRST, Licenses(count), now, &mut live.desk);
        }
    }

    pub(super) fn limit(&self, node: usize) -> u32 {
        let now = self.local(node);
        self.nodes[node].as_ref().and_then(|live| live.desk.lease).map_or(0, |lease| lease.at(now))
    }

    pub(super) fn view(&mut self, node: usize) -> ChunkView {
        self.node(node).chunks.view(FIRST).unwrap()
    }

    /// Real time passes on a kind wire, five milliseconds at a time; a packet takes `delay` of them.
    pub(super) fn run(&mut self, ms: u64, delay: u64) {
        for _ in 0..ms / 5 {
            self.now += 5 * MS;
            self.engine.expire(self.now);
            (0..self.nodes.len()).for_each(|node| self.step_node(node));
            while let Some(place) = self.wire.iter().position(|(sent, _)| sent + delay * 5 * MS <= self.now) {
                let (_, packet) = self.wire.remove(place);
                self.arrive(packet);
            }
            // What nobody waits for any more was lost to a crash, or given up.
            if self.now.is_multiple_of(1000 * MS) && delay > 0 && self.wire.is_empty() {
                (0..self.nodes.len()).for_each(|node| self.give_up(node));
            }
        }
    }

    /// So many calls a second at a node, for a while. Says how many were admitted.
    pub(super) fn load(&mut self, node: usize, per_second: u64, seconds: u64) -> u64 {
        let mut admitted = 0;
        for step in 0..seconds * 200 {
            self.run(5, 1);
            let due = (step + 1) * per_second / 200 - step * per_second / 200;
            admitted += (0..due).map(|_| u64::from(self.offer(node))).sum::<u64>();
        }
        admitted
    }

    /// What all may use or still use, and what there is, in units.
    pub(super) fn claims(&self) -> (u64, u64) {
        let units = u64::from(self.resource.id.kind.units_per_license());
        let recent = |node: usize| {
            let warm = |(at, by): &&(u64, usize)| *by == node && *at + NANOS_PER_SECOND > self.now;
            u32::try_from(self.admitted.iter().rev().take(4000).filter(warm).count()).unwrap()
        };
        let claims = (0..self.nodes.len()).map(|node| {
            let real = if self.rate() { recent(node) } else { self.calls[node] };
            u64::from(self.limit(node).max(real))
        });
        let resource = format!("x.{}.", if self.rate() { "rate" } else { "session" });
        let sum = |family: &str, field: &str| -> u64 {
            self.engine.numbers(&format!("callgate/{family}/{resource}"), field).values().sum()
        };
        let kept: u64 = self.homes.iter().map(|home| u64::from(home * self.terms.keep_percent / 100)).sum();
        let (homes, holds, gone) = (sum("home", "licenses"), sum("hold", "licenses"), sum("gone", "licenses"));
        let (book_homes, taken) = (sum("book", "homes"), sum("book", "taken"));
        assert_eq!(sum("book", "claimed"), sum("hold", "claims"), "and what is asked back");
        assert_eq!((book_homes, taken), (homes, holds), "the book has the sums");
        assert!(taken <= book_homes, "{taken} taken of {book_homes}");
        (claims.sum(), (homes + kept + gone) * units)
    }
}
