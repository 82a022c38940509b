//! What is between hosts: connections, and packets that are lost, doubled, late and cut off.

use callgate::cluster::{
    Action, Datagram, Event, Frames, LENGTH_BYTES, Message, decode_datagram, decode_message, encode_message,
};

use crate::story::{MS, SECOND, Wire};
use crate::world::{Ev, World};

/// A connection on which nothing arrives is given up after so long.
const IDLE_MS: u64 = 1200;
/// How often a pair of hosts looks whether it can connect.
const LOOK_EVERY_MS: u64 = 150;

/// Something under way.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: usize,
    pub to: usize,
    pub bytes: Vec<u8>,
    pub is_datagram: bool,
    /// Its sender's life, where a later one makes it void: the greeting of a connection that is no more.
    pub life: Option<u32>,
}

/// Connections and cuts, by direction.
#[derive(Debug)]
pub struct Links {
    nodes: usize,
    cut_since: Vec<Option<u64>>,
    linked: Vec<bool>,
    /// When the newest packet of a stream arrives: what is sent later arrives later.
    newest: Vec<u64>,
}

impl Links {
    pub fn new(nodes: usize) -> Self {
        let pairs = nodes * nodes;
        Self { nodes, cut_since: vec![None; pairs], linked: vec![false; pairs], newest: vec![0; pairs] }
    }

    const fn place(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }

    pub fn cut(&mut self, from: usize, to: usize, now: u64) {
        let place = self.place(from, to);
        self.cut_since[place] = self.cut_since[place].or(Some(now));
    }

    pub fn heal(&mut self) {
        self.cut_since.fill(None);
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut_since[self.place(from, to)].is_some()
    }

    /// The connection between two is used in both directions: either cut ends it.
    fn idle_since(&self, one: usize, other: usize) -> Option<u64> {
        let both = [self.cut_since[self.place(one, other)], self.cut_since[self.place(other, one)]];
        both.into_iter().flatten().min()
    }

    pub fn is_linked(&self, one: usize, other: usize) -> bool {
        self.linked[self.place(one, other)]
    }

    fn set_linked(&mut self, one: usize, other: usize, linked: bool) {
        let places = [self.place(one, other), self.place(other, one)];
        for place in places {
            self.linked[place] = linked;
        }
    }
}

impl World {
    /// Carries out what a node wants.
    pub fn carry_out(&mut self, node: usize) {
        while let Some(action) = self.hosts[node].live.as_mut().and_then(|live| live.cluster.poll_action()) {
            match action {
                Action::Persist { batch, records } => self.begin_write(node, batch, records),
                Action::Send { to, message } => {
                    let to: usize = to.as_str()[1..].parse().unwrap();
                    self.say(node, to, &message);
                }
                Action::Gossip { to, bytes } => {
                    let to: usize = to.as_str()[1..].parse().unwrap();
                    self.counts.datagrams += 1;
                    self.send(Packet { from: node, to, bytes, is_datagram: true, life: None });
                }
                Action::GrantAck { resource, epoch, .. } => self.acknowledged(node, &resource, epoch),
                Action::Tell(event) => self.tell(node, &event),
            }
        }
    }

    fn tell(&mut self, node: usize, event: &Event) {
        self.trace.note(u64::try_from(node).unwrap());
        if self.law.tells {
            let at = (self.now - 1000 * SECOND) / MS;
            match event {
                Event::Ignored { .. } => {}
                event => println!("{at:>7} ms  n{node}: {event:?}"),
            }
        }
    }

    fn say(&mut self, node: usize, to: usize, message: &Message) {
        self.law.said(&self.story, node, to, message, &self.hosts[node].disk);
        if self.law.tells {
            let at = (self.now - 1000 * SECOND) / MS;
            println!("{at:>7} ms  n{node} -> n{to}: {message:?}");
        }
        if !self.links.is_linked(node, to) {
            return;
        }
        let Ok(bytes) = encode_message(message) else {
            return self.law.fail(format!("a message of n{node} that can't be written: {message:?}"));
        };
        self.counts.messages += 1;
        // Said once on a connection: only its end loses them.
        let once = matches!(message, Message::Hello(_) | Message::Leave(_));
        let life = once.then_some(self.hosts[node].life);
        self.send(Packet { from: node, to, bytes, is_datagram: false, life });
    }

    fn send(&mut self, packet: Packet) {
        self.trace.note_bytes(&packet.bytes);
        self.counts.bytes += u64::try_from(packet.bytes.len()).unwrap();
        let wire = self.wire;
        let (from, to) = (packet.from, packet.to);
        if self.links.is_cut(from, to) {
            return;
        }
        let (low, high) = wire.delay_us;
        let wire = if packet.life.is_some() { Wire::calm(wire.delay_us) } else { wire };
        if self.dice.chance(wire.doubled) {
            let after = self.dice.between(low, high) * 1000 + self.dice.below(wire.late_ms * MS);
            self.after(after, Ev::Arrives(packet.clone()));
        }
        if self.dice.chance(wire.lost) {
            return;
        }
        let mut arrives = self.now + self.dice.between(low, high) * 1000;
        if self.dice.chance(wire.late) {
            arrives += self.dice.below(wire.late_ms * MS);
        } else if !packet.is_datagram {
            let place = self.links.place(from, to);
            arrives = arrives.max(self.links.newest[place]);
            self.links.newest[place] = arrives;
        }
        self.at(arrives, Ev::Arrives(packet));
    }

    pub fn arrives(&mut self, packet: Packet) {
        let Packet { from, to, bytes, is_datagram, life } = packet;
        if life.is_some_and(|life| life != self.hosts[from].life) {
            return;
        }
        let sender = self.hosts[from].name.clone();
        if is_datagram {
            debug_assert!(matches!(
                decode_datagram(&bytes),
                Ok(Datagram::Hint(_) | Datagram::Membership(_) | Datagram::Known(_))
            ));
            return self.with(to, |cluster, now, _| cluster.handle_datagram(&sender, &bytes, now));
        }
        let mut frames = Frames::new();
        frames.push(&bytes);
        debug_assert!(decode_message(&bytes[LENGTH_BYTES..]).is_ok());
        let Some(Ok(message)) = frames.next() else {
            return self.law.fail(format!("a message of n{from} that can't be read"));
        };
        self.with(to, |cluster, now, desks| cluster.handle_message(&sender, message, now, desks));
    }

    /// A pair of hosts looks at its connection.
    pub fn look(&mut self, one: usize, other: usize) {
        let jitter = self.dice.below(20 * MS);
        self.after(LOOK_EVERY_MS * MS + jitter, Ev::Look { one, other });
        let both_run = self.hosts[one].live.is_some() && self.hosts[other].live.is_some();
        let paused = self.hosts[one].paused || self.hosts[other].paused;
        let idle = self.links.idle_since(one, other);
        if self.links.is_linked(one, other) {
            let over = idle.is_some_and(|since| self.now >= since + IDLE_MS * MS);
            if over || !both_run {
                self.break_link(one, other);
            }
        } else if both_run && !paused && idle.is_none() {
            self.links.set_linked(one, other, true);
            for (node, peer) in [(one, other), (other, one)] {
                let life = self.hosts[node].life;
                let after = self.dice.below(2 * MS);
                self.after(after, Ev::Up { node, peer, life });
            }
        }
    }

    pub fn break_link(&mut self, one: usize, other: usize) {
        if !self.links.is_linked(one, other) {
            return;
        }
        self.links.set_linked(one, other, false);
        for (node, peer) in [(one, other), (other, one)] {
            let life = self.hosts[node].life;
            let after = self.dice.below(5 * MS);
            self.after(after, Ev::Down { node, peer, life });
        }
    }

    pub fn link_changed(&mut self, node: usize, peer: usize, life: u32, up: bool) {
        if self.hosts[node].life != life {
            return;
        }
        let name = self.hosts[peer].name.clone();
        self.with(node, |cluster, now, _| {
            if up {
                cluster.handle_connected(&name, now);
            } else {
                cluster.handle_disconnected(&name, now);
            }
        });
    }
}
