//! Who is there: SWIM membership (foca) behind types of our own. PURE.
//!
//! It says which nodes answer, which are suspected, which are down and which came back in a new life. Nothing that is lent
//! rests on that: it names whom to ask, and starts the clock of a lost node.
//!
//! Where it stops: it sends nothing and reads no clock. Frames to send and news come out of [`Members::poll_output`]; the
//! wire's envelope is put on here, and taken off by who hands a frame in.
//!
//! What must stay true:
//!
//! - a frame counts only if its sender is the node that the certificate named;
//! - one seed and one order of inputs give one order of outputs;
//! - the list holds at most [`Setup::members_max`] nodes; who comes on top is left out, and that is told once;
//! - whoever is configured and not there is called again for ever.

mod identity;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::{Buf, BufMut};
use foca::{Codec, Foca, Header, Notification, PeriodicParams, PostcardCodec, Runtime, State, Timer};

pub use self::identity::{Dice, Identity};
use super::ids::{Incarnation, LedgerId, NodeName};
use super::wire::{DATAGRAM_BYTES_MAX, DATAGRAM_HEAD_BYTES, Datagram, encode_datagram};
use crate::units::Tick;

/// Without any member, the configured ones are called so often, in milliseconds.
const ANNOUNCE_ALONE_MS: u64 = 1000;
/// With some, those that are missing are called so often, in milliseconds.
const ANNOUNCE_MISSING_MS: u64 = 5000;
/// So many are called at a time.
const ANNOUNCED_MAX: usize = 8;
/// The generation is raised over a known one at most so often, in milliseconds: two nodes of one name would do it for ever.
const OUTBID_INTERVAL_MS: u64 = 1000;

/// How membership is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This node.
    pub node: NodeName,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its ledger's incarnation.
    pub inc: Incarnation,
    /// The configured members, itself left out.
    pub peers: Vec<NodeName>,
    /// The longest list of members.
    pub members_max: usize,
    /// For its dice.
    pub seed: u64,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A whole datagram to send.
    Datagram {
        /// To whom.
        to: NodeName,
        /// What.
        bytes: Vec<u8>,
    },
    /// A node answers.
    Up(Identity),
    /// A node that was there is there in a new life.
    Rejoined {
        /// As it was.
        before: Identity,
        /// As it is.
        now: Identity,
    },
    /// A node doesn't answer; it is given a few seconds.
    Suspect(NodeName),
    /// A suspected node answered after all.
    Trusted(NodeName),
    /// A node is gone.
    Down(NodeName),
    /// The list is full: a node was left out. Told once, until there is room again.
    Full {
        /// Who was left out.
        refused: NodeName,
    },
}

/// Why a frame counted for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its sender isn't the node that the certificate names.
    #[error("the sender of a membership frame isn't the node that its certificate names")]
    Forged,
    /// It can't be read.
    #[error("a membership frame that can't be read")]
    Malformed,
    /// The list of members is full.
    #[error("the list of members is full")]
    Full,
    /// It is about an earlier life, or not to this one.
    #[error("a membership frame of an earlier life")]
    Stale,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Up,
    /// It doesn't answer just now.
    Suspect,
    /// It is gone.
    Down,
}

/// The members of the cluster as this node sees them.
pub struct Members {
    setup: Setup,
    foca: Foca<Identity, PostcardCodec, Dice, foca::NoCustomBroadcast>,
    dice: Dice,
    timers: BTreeMap<(Tick, u64), Timer<Identity>>,
    timers_made: u64,
    outputs: VecDeque<Output>,
    suspects: BTreeSet<NodeName>,
    announce_at: Tick,
    announce_next: usize,
    outbid_at: Tick,
    is_full: bool,
    has_left: bool,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("identity", self.foca.identity())
            .field("members", &self.foca.num_members())
            .field("timers", &self.timers.len())
            .field("has_left", &self.has_left)
            .finish_non_exhaustive()
    }
}

/// What foca wants done, written down.
#[derive(Default)]
struct Wishes {
    sends: Vec<(NodeName, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Identity>)>,
    news: Vec<News>,
}

enum News {
    Up(Identity),
    Down(Identity),
    Rename(Identity, Identity),
}

impl Runtime<Identity> for Wishes {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(member) => self.news.push(News::Up(member.clone())),
            Notification::MemberDown(member) => self.news.push(News::Down(member.clone())),
            Notification::Rename(before, now) => self.news.push(News::Rename(before.clone(), now.clone())),
            Notification::Active | Notification::Idle | Notification::Defunct | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to.name, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((after, event));
    }
}

fn config() -> foca::Config {
    let every = |millis, members| {
        NonZeroUsize::new(members)
            .map(|num_members| PeriodicParams { frequency: Duration::from_millis(millis), num_members })
    };
    foca::Config {
        probe_period: Duration::from_secs(1),
        probe_rtt: Duration::from_millis(300),
        num_indirect_probes: NonZeroUsize::MIN.saturating_add(2),
        max_transmissions: NonZeroU8::MIN.saturating_add(9),
        suspect_to_down_after: Duration::from_secs(4),
        remove_down_after: Some(Duration::from_secs(600)),
        max_packet_size: NonZeroUsize::MIN.saturating_add(DATAGRAM_BYTES_MAX - DATAGRAM_HEAD_BYTES - 1),
        notify_down_members: true,
        periodic_announce: every(30_000, 1),
        periodic_announce_to_down_members: every(10_000, 2),
        periodic_gossip: every(200, 3),
    }
}

impl Members {
    /// A node that knows nobody yet. It calls the configured ones at the first [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn new(setup: Setup, now: Tick) -> Self {
        let mut dice = Dice::new(setup.seed);
        let identity =
            Identity { name: setup.node.clone(), generation: setup.inc.0, inc: setup.inc, ledger: setup.ledger };
        let foca = Foca::new(identity, config(), Dice::new(dice.throw()), PostcardCodec);
        Self {
            setup,
            foca,
            dice,
            timers: BTreeMap::new(),
            timers_made: 0,
            outputs: VecDeque::new(),
            suspects: BTreeSet::new(),
            announce_at: now,
            announce_next: 0,
            outbid_at: now,
            is_full: false,
            has_left: false,
        }
    }

    /// The next thing to do or to know.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        let timer = self.timers.keys().next().map(|(due, _)| *due);
        let announce = (!self.has_left && !self.setup.peers.is_empty()).then_some(self.announce_at);
        [timer, announce].into_iter().flatten().min()
    }

    /// Time has come to where something is due.
    pub fn handle_timeout(&mut self, now: Tick) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let timer = entry.remove();
            let mut wishes = Wishes::default();
            // An error says that a probe was cut short, as after a pause, or that nobody is left to probe: foca goes on.
            let _ = self.foca.handle_timer(timer, &mut wishes);
            self.carry_out(wishes, now);
        }
        if !self.has_left && self.announce_at <= now {
            self.announce_to_missing(now);
        }
        self.compare_suspects();
    }

    /// A connection to a node came up: call it at once, if it is not there.
    pub fn handle_connected(&mut self, peer: &NodeName, now: Tick) {
        if !self.has_left && self.standing(peer) != Some(Standing::Up) {
            self.announce(peer.clone(), now);
        }
    }

    /// A membership frame, its envelope taken off, from the node that the certificate names.
    ///
    /// # Errors
    /// If it counts for nothing. Nothing changed, but that a node of an earlier life may be told so.
    pub fn handle_datagram(&mut self, from: &NodeName, frame: &[u8], now: Tick) -> Result<(), FrameError> {
        let result = self.take_frame(from, frame, now);
        self.compare_suspects();
        result
    }

    fn take_frame(&mut self, from: &NodeName, frame: &[u8], now: Tick) -> Result<(), FrameError> {
        let mut rest = frame;
        let header: Header<Identity> = PostcardCodec.decode_header(&mut rest).map_err(|_| FrameError::Malformed)?;
        if header.src.name != *from || *from == self.setup.node {
            return Err(FrameError::Forged);
        }
        match self.known(from) {
            None if self.room() == 0 => {
                self.refuse(from.clone());
                return Err(FrameError::Full);
            }
            Some(known) if known.generation > header.src.generation => {
                self.tell_generation(from.clone(), known.generation);
                return Err(FrameError::Stale);
            }
            None | Some(_) => {}
        }
        let kept = self.without_strangers(&header, rest)?;
        let mut wishes = Wishes::default();
        let result = self.foca.handle_data(kept.as_deref().unwrap_or(frame), &mut wishes);
        self.carry_out(wishes, now);
        match result {
            Ok(()) => Ok(()),
            Err(foca::Error::DataFromOurselves | foca::Error::IndirectForOurselves) => Err(FrameError::Stale),
            Err(_) => Err(FrameError::Malformed),
        }
    }

    /// The frame again without the members for which the list has no room; `None` if all may stay.
    fn without_strangers(&mut self, header: &Header<Identity>, body: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        let mut body = body;
        if body.remaining() < 2 {
            return Ok(None);
        }
        let count = body.get_u16();
        let mut room = self.room();
        if self.known(&header.src.name).is_none() {
            room = room.saturating_sub(1);
        }
        let mut kept = Vec::new();
        let mut met = BTreeSet::new();
        let mut left_out = None;
        for _ in 0..count {
            let member: foca::Member<Identity> =
                PostcardCodec.decode_member(&mut body).map_err(|_| FrameError::Malformed)?;
            let name = &member.id().name;
            let is_new = *name != header.src.name && *name != self.setup.node && self.known(name).is_none();
            if is_new && !met.contains(name) {
                if met.len() >= room {
                    left_out = Some(name.clone());
                    continue;
                }
                met.insert(name.clone());
            }
            kept.push(member);
        }
        let Some(stranger) = left_out else { return Ok(None) };
        self.refuse(stranger);
        let mut frame = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        PostcardCodec.encode_header(header, &mut frame).map_err(|_| FrameError::Malformed)?;
        frame.put_u16(u16::try_from(kept.len()).unwrap_or(u16::MAX));
        for member in &kept {
            PostcardCodec.encode_member(member, &mut frame).map_err(|_| FrameError::Malformed)?;
        }
        frame.extend_from_slice(body);
        Ok(Some(frame))
    }

    /// Somebody knows this node's name under a higher generation: an earlier life of another ledger, say. A higher one is
    /// taken.
    pub fn handle_known(&mut self, generation: u64, now: Tick) {
        let mine = self.foca.identity().clone();
        if self.has_left || generation <= mine.generation || now < self.outbid_at {
            return;
        }
        let Some(generation) = generation.checked_add(1) else { return };
        self.outbid_at = now.plus_millis(OUTBID_INTERVAL_MS);
        let mut wishes = Wishes::default();
        let _ = self.foca.change_identity(Identity { generation, ..mine }, &mut wishes);
        self.carry_out(wishes, now);
        self.announce_at = now;
    }

    /// This life's incarnation is higher than the boot counter said.
    pub fn raise_inc(&mut self, inc: Incarnation, now: Tick) {
        let mine = self.foca.identity().clone();
        let generation = mine.generation.max(inc.0).saturating_add(1);
        let mut wishes = Wishes::default();
        let _ = self.foca.change_identity(Identity { generation, inc, ..mine }, &mut wishes);
        self.carry_out(wishes, now);
    }

    /// Says good-bye. Nothing is sent afterwards.
    pub fn leave(&mut self, now: Tick) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        let mut wishes = Wishes::default();
        let _ = self.foca.leave_cluster(&mut wishes);
        self.carry_out(wishes, now);
        self.timers.clear();
    }

    /// Who this node is now.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Those that answer, or did so a moment ago.
    pub fn active(&self) -> impl Iterator<Item = &Identity> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// How many those are.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.foca.num_members()
    }

    /// How a node stands; `None` if it was never heard of, or not for long.
    #[must_use]
    pub fn standing(&self, name: &NodeName) -> Option<Standing> {
        let member = self.foca.iter_membership_state().find(|member| member.id().name == *name)?;
        Some(match member.state() {
            State::Alive => Standing::Up,
            State::Suspect => Standing::Suspect,
            State::Down => Standing::Down,
        })
    }

    fn known(&self, name: &NodeName) -> Option<&Identity> {
        self.foca.iter_membership_state().map(foca::Member::id).find(|id| id.name == *name)
    }

    fn room(&self) -> usize {
        self.setup.members_max.saturating_sub(self.foca.iter_membership_state().len())
    }

    fn refuse(&mut self, refused: NodeName) {
        if !std::mem::replace(&mut self.is_full, true) {
            self.outputs.push_back(Output::Full { refused });
        }
    }

    fn tell_generation(&mut self, to: NodeName, generation: u64) {
        if let Ok(bytes) = encode_datagram(&Datagram::Known(generation)) {
            self.outputs.push_back(Output::Datagram { to, bytes });
        }
    }

    fn announce(&mut self, to: NodeName, now: Tick) {
        let mut wishes = Wishes::default();
        let _ = self.foca.announce(Identity::anybody(to), &mut wishes);
        self.carry_out(wishes, now);
    }

    /// Calls configured nodes that aren't there, in turn.
    fn announce_to_missing(&mut self, now: Tick) {
        let pause = if self.foca.num_members() == 0 { ANNOUNCE_ALONE_MS } else { ANNOUNCE_MISSING_MS };
        // Nodes that were started together don't call together for ever.
        let jitter = u64::try_from(self.dice.below(200)).unwrap_or(0);
        self.announce_at = now.plus_millis(pause + jitter);
        let active: BTreeSet<&NodeName> = self.foca.iter_members().map(|member| &member.id().name).collect();
        let missing: Vec<NodeName> = self.setup.peers.iter().filter(|peer| !active.contains(peer)).cloned().collect();
        for offset in 0..missing.len().min(ANNOUNCED_MAX) {
            if let Some(peer) = missing.get((self.announce_next + offset) % missing.len()) {
                self.announce(peer.clone(), now);
            }
        }
        self.announce_next = self.announce_next.wrapping_add(ANNOUNCED_MAX);
        self.is_full = self.is_full && self.room() == 0;
    }

    fn carry_out(&mut self, wishes: Wishes, now: Tick) {
        for (to, frame) in wishes.sends {
            if let Ok(bytes) = encode_datagram(&Datagram::Membership(&frame)) {
                self.outputs.push_back(Output::Datagram { to, bytes });
            }
        }
        for (after, timer) in wishes.timers {
            if let Timer::RemoveDown(gone) = &timer {
                // One for each name: who comes and goes would otherwise fill the list of timers.
                let name = gone.name.clone();
                self.timers.retain(|_, other| !matches!(other, Timer::RemoveDown(id) if id.name == name));
            }
            self.timers_made = self.timers_made.wrapping_add(1);
            let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            self.timers.insert((now.plus_nanos(nanos), self.timers_made), timer);
        }
        for news in wishes.news {
            self.tell(news);
        }
    }

    fn tell(&mut self, news: News) {
        let output = match news {
            News::Up(member) => Output::Up(member),
            News::Down(member) => {
                self.suspects.remove(&member.name);
                Output::Down(member.name)
            }
            // A higher generation of one life only refutes what others say of it.
            News::Rename(before, now) if before.ledger == now.ledger && before.inc == now.inc => return,
            News::Rename(before, now) => Output::Rejoined { before, now },
        };
        self.outputs.push_back(output);
    }

    /// foca says who is up and who is down; who is suspected is found by looking.
    fn compare_suspects(&mut self) {
        let now: BTreeSet<NodeName> = self
            .foca
            .iter_members()
            .filter(|member| member.state() == State::Suspect)
            .map(|member| member.id().name.clone())
            .collect();
        if now == self.suspects {
            return;
        }
        for name in now.difference(&self.suspects) {
            self.outputs.push_back(Output::Suspect(name.clone()));
        }
        for name in self.suspects.difference(&now) {
            self.outputs.push_back(Output::Trusted(name.clone()));
        }
        self.suspects = now;
    }
}

#[cfg(test)]
mod tests;
