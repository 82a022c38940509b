//! The open connections of one front end, and the sweeper that ends those that wait too long.
//!
//! A connection carries no timer: it writes down what it waits for and since when, which costs nothing on the way of a
//! request, and a task looks at all of them a few times in the shortest timeout. What it ends, it ends by shutting the
//! socket down: the connection's own task wakes up, sees the end of the stream, and leaves as it always does.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::settings::ConnectionLimits;
use super::socket::Stream;
use crate::shell::clock::Clock;
use crate::shell::telemetry::{ClosedConnection, Counters, FrontEnd, RefusedConnection};
use crate::sync::Mutex;
use crate::units::Tick;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wait {
    /// The next request's first byte.
    Request = 0,
    /// The rest of a request.
    Rest = 1,
    /// Its client to read its answers.
    Reader = 2,
    /// The sidecar itself, which is busy with its request: not the client's fault.
    Us = 3,
}

impl Wait {
    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Request,
            1 => Self::Rest,
            2 => Self::Reader,
            _ => Self::Us,
        }
    }
}

const REASON_NONE: u8 = u8::MAX;

/// Buffered bytes that every connection may hold without asking.
pub(super) const ALLOWANCE_BYTES: usize = 16 * 1024;

/// Answers that a client must take to be given the write timeout anew.
const PROGRESS_BYTES: usize = 16 * 1024;

/// How long a client has been reading its answers: taking a byte now and then does not count as reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    since: Tick,
    taken: usize,
}

impl Reading {
    pub(super) const fn begun(now: Tick) -> Self {
        Self { since: now, taken: 0 }
    }

    /// It took so many bytes.
    pub(super) const fn took(&mut self, bytes: usize, now: Tick) {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= PROGRESS_BYTES {
            *self = Self::begun(now);
        }
    }

    /// Since when the write timeout runs.
    pub(super) const fn since(&self) -> Tick {
        self.since
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: Stream,
    pub(super) id: u64,
    // Relaxed, all of them: they are hints to the sweeper, and publish nothing.
    wait: AtomicU8,
    since: AtomicU64,
    ended_for: AtomicU8,
    streaming: AtomicBool,
    /// What it holds of its front end's budget.
    held: AtomicUsize,
}

impl Peer {
    /// Says whether it streams events: then silence is nobody's fault.
    pub(super) fn streams(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Writes down what it waits for from now on.
    pub(super) fn waits(&self, wait: Wait, since: Tick) {
        #[expect(clippy::as_conversions, reason = "a fieldless repr(u8) enum's discriminant")]
        self.wait.store(wait as u8, Ordering::Relaxed);
        self.since.store(since.0, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> Wait {
        Wait::from_code(self.wait.load(Ordering::Relaxed))
    }

    /// Remembers why it ends, whatever ends it.
    pub(super) fn will_end_for(&self, why: ClosedConnection) {
        let place = ClosedConnection::ALL.iter().position(|reason| *reason == why);
        let code = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(REASON_NONE);
        self.ended_for.store(code, Ordering::Relaxed);
    }

    /// Shuts the socket down, and remembers why.
    fn end(&self, why: ClosedConnection) {
        self.will_end_for(why);
        self.stream.shutdown(Shutdown::Both);
    }

    /// Why the sweeper or a full budget ended it, if one did.
    fn ended_for(&self) -> Option<ClosedConnection> {
        ClosedConnection::ALL.get(usize::from(self.ended_for.load(Ordering::Relaxed))).copied()
    }
}

/// The connections of one front end, over all its threads.
#[derive(Debug)]
pub(super) struct Peers {
    front: FrontEnd,
    limits: ConnectionLimits,
    counters: Counters,
    open: AtomicUsize,
    next_id: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Peer>>>,
    /// The boot clock as the sweeper last saw it, for those who need no better.
    coarse: AtomicU64,
    /// Buffered bytes of all connections, beyond each one's allowance.
    held: AtomicUsize,
}

impl Peers {
    pub(super) fn new(front: FrontEnd, limits: ConnectionLimits, counters: Counters) -> Arc<Self> {
        Arc::new(Self {
            front,
            limits,
            counters,
            open: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            all: Mutex::new(HashMap::new()),
            coarse: AtomicU64::new(Clock.tick().0),
            held: AtomicUsize::new(0),
        })
    }

    /// Takes a connection in. `Err` gives it back: there are too many.
    pub(super) fn enter(self: &Arc<Self>, stream: Stream) -> Result<Entered, Stream> {
        let counters = self.counters.front(self.front);
        // Relaxed: only the count itself matters, and add-then-check never lets too many in.
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            counters.refused(RefusedConnection::Limit);
            return Err(stream);
        }
        counters.accepted();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let peer = Arc::new(Peer {
            stream,
            id,
            wait: AtomicU8::new(0),
            since: AtomicU64::new(self.coarse().0),
            ended_for: AtomicU8::new(REASON_NONE),
            streaming: AtomicBool::new(false),
            held: AtomicUsize::new(0),
        });
        self.all.lock().insert(id, Arc::clone(&peer));
        Ok(Entered { peer, peers: Arc::clone(self), why: ClosedConnection::Client })
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn coarse(&self) -> Tick {
        Tick(self.coarse.load(Ordering::Relaxed))
    }

    /// A connection holds so many buffered bytes now. `false`: the budget does not allow for more than it held before, and
    /// it must let go of them and end. Only the connection's own task may call this.
    pub(super) fn hold(&self, peer: &Peer, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(ALLOWANCE_BYTES);
        // Relaxed: only the sum matters, and add-then-check never lets too many in.
        let had = peer.held.load(Ordering::Relaxed);
        if wanted <= had {
            if wanted < had {
                self.held.fetch_sub(had - wanted, Ordering::Relaxed);
                peer.held.store(wanted, Ordering::Relaxed);
            }
            return true;
        }
        let more = wanted - had;
        if self.held.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.limits.buffered_bytes_max {
            self.held.fetch_sub(more, Ordering::Relaxed);
            peer.will_end_for(ClosedConnection::Buffers);
            return false;
        }
        peer.held.store(wanted, Ordering::Relaxed);
        true
    }

    fn leave(&self, peer: &Peer, why: ClosedConnection) {
        self.hold(peer, 0);
        self.all.lock().remove(&peer.id);
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.counters.front(self.front).closed(peer.ended_for().unwrap_or(why));
    }

    /// Ends the connections that have waited too long.
    pub(super) fn sweep(&self, now: Tick) {
        self.coarse.store(now.0, Ordering::Relaxed);
        for peer in self.all.lock().values() {
            let (limit, why) = match peer.waiting() {
                Wait::Request => (self.limits.idle, ClosedConnection::Idle),
                Wait::Rest => (self.limits.request, ClosedConnection::SlowSender),
                Wait::Reader => (self.limits.write, ClosedConnection::SlowReader),
                Wait::Us => continue,
            };
            let waited = Duration::from_nanos(now.nanos_since(Tick(peer.since.load(Ordering::Relaxed))));
            if !limit.is_zero() && waited > limit {
                peer.end(why);
            }
        }
    }

    /// Looks at the connections until the runtime ends.
    pub(super) async fn sweep_forever(self: Arc<Self>) {
        let timeouts = [self.limits.idle, self.limits.request, self.limits.write];
        let shortest = timeouts.into_iter().filter(|timeout| !timeout.is_zero()).min().unwrap_or(Duration::MAX);
        let pause = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            self.sweep(Clock.tick());
        }
    }

    /// Lets every connection answer what it has read and what its socket holds, and then end.
    pub(super) fn finish_reading(&self) {
        for peer in self.all.lock().values() {
            peer.stream.shutdown(Shutdown::Read);
        }
    }

    /// Ends every connection now.
    pub(super) fn end_all(&self) {
        for peer in self.all.lock().values() {
            peer.end(ClosedConnection::Drain);
        }
    }
}

/// A connection that was taken in; dropping this takes it out again.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) peer: Arc<Peer>,
    peers: Arc<Peers>,
    why: ClosedConnection,
}

impl Entered {
    /// Why it will have ended (unless the sweeper ends it first).
    pub(super) fn ends_for(&mut self, why: ClosedConnection) {
        self.why = why;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.peers.leave(&self.peer, self.why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_does_not_renew_the_write_timeout() {
        let mut reading = Reading::begun(Tick(5));
        for second in 0..1_000 {
            reading.took(1, Tick(100 + second));
        }
        assert_eq!(reading.since(), Tick(5));
        reading.took(PROGRESS_BYTES - 1_001, Tick(2_000));
        assert_eq!(reading.since(), Tick(5), "one byte too few");
        reading.took(1, Tick(3_000));
        assert_eq!(reading.since(), Tick(3_000));
        reading.took(PROGRESS_BYTES - 1, Tick(4_000));
        assert_eq!(reading.since(), Tick(3_000), "each renewal is earned anew");
    }
}
