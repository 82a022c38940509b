//! Counters of the front ends and of the shell itself: relaxed atomics, written from any thread, read by a scrape.
//!
//! What the gate counts (admitted, refused, live) is the gate's own and not repeated here.
//! Every counter only rises; gauges say so. Relaxed everywhere: nothing is published by a count.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::histogram::Histogram;
use crate::sync::{AtomicU64, Ordering};

macro_rules! labels {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label that metrics show.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }

            #[expect(clippy::as_conversions, reason = "a fieldless enum's discriminant")]
            const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

labels! {
    /// Where a connection came in.
    FrontEnd {
        /// RESP over TCP or a Unix socket.
        Resp = "resp",
        /// HTTP over TCP.
        Http = "http",
        /// HTTP over the admin socket.
        Admin = "admin",
        /// Datagrams over UDP or a Unix socket.
        Datagram = "datagram",
    }
}

labels! {
    /// Why a connection was refused at once.
    RefusedConnection {
        /// As many are open as the configuration allows.
        Limit = "limit",
        /// The sidecar is draining.
        Draining = "draining",
        /// The operating system refused it (no file descriptor left, for instance).
        System = "system",
    }
}

labels! {
    /// Why a connection ended.
    ClosedConnection {
        /// Its client closed it, or asked for that.
        Client = "client",
        /// It said nothing for too long.
        Idle = "idle",
        /// It sent a request too slowly.
        SlowSender = "slow-sender",
        /// It didn't read its answers.
        SlowReader = "slow-reader",
        /// It sent what cannot be understood.
        Protocol = "protocol",
        /// It sent a request that is too large.
        TooLarge = "too-large",
        /// It wanted more buffered bytes than all connections of its front end may hold together.
        Buffers = "buffers",
        /// It failed to authenticate.
        Auth = "auth",
        /// The sidecar drained.
        Drain = "drain",
        /// The operating system reported an error.
        Io = "io",
    }
}

labels! {
    /// Why a datagram was dropped, or the rest of one.
    DroppedDatagram {
        /// Too short to be a request, and too short to be answered.
        Short = "short",
        /// It does not begin as a request does.
        Magic = "magic",
        /// It is an answer.
        Answer = "answer",
        /// It is longer than is read; what is beyond was cut off.
        TooLong = "too-long",
        /// Its sender has no address to answer to.
        Anonymous = "anonymous",
        /// Its answer could not be sent: its sender does not read, or is gone.
        Unsent = "unsent",
    }
}

/// The datagram front end's own counters, beside those that every front end has.
#[derive(Debug)]
pub struct DatagramCounters {
    /// Datagrams that came.
    pub received: Counter,
    /// Datagrams of answers that were sent.
    pub sent: Counter,
    dropped: [Counter; DroppedDatagram::COUNT],
}

impl Default for DatagramCounters {
    fn default() -> Self {
        Self {
            received: Counter::default(),
            sent: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl DatagramCounters {
    /// One was dropped.
    pub fn drop_one(&self, why: DroppedDatagram) {
        if let Some(counter) = self.dropped.get(why.index()) {
            counter.inc();
        }
    }

    /// Datagrams dropped for this reason since start.
    #[must_use]
    pub fn dropped_total(&self, why: DroppedDatagram) -> u64 {
        self.dropped.get(why.index()).map_or(0, Counter::get)
    }
}

labels! {
    /// What was asked.
    Command {
        /// `ADMIT`, `ADMIT.BOOL`.
        Admit = "admit",
        /// `CONFIRM`.
        Confirm = "confirm",
        /// `RELEASE`.
        Release = "release",
        /// `REFRESH`.
        Refresh = "refresh",
        /// `PROXY`.
        Proxy = "proxy",
        /// `RESYNC`.
        Resync = "resync",
        /// `STATUS`, `INFO`.
        Status = "status",
        /// `PING`, `HELLO`, `AUTH` and other commands of the connection itself.
        Connection = "connection",
        /// Metrics and health.
        Metrics = "metrics",
        /// The stream of events.
        Events = "events",
        /// Everything under `/v1/admin`.
        Admin = "admin",
        /// Anything else that was understood.
        Other = "other",
    }
}

/// A count that any thread may add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the value: for gauges, and for counts that another owner keeps.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// One front end's counters.
#[derive(Debug)]
pub struct FrontEndCounters {
    accepted: Counter,
    refused: [Counter; RefusedConnection::COUNT],
    closed: [Counter; ClosedConnection::COUNT],
    commands: [Counter; Command::COUNT],
    /// Requests that could not be understood and were answered with an error.
    pub protocol_errors: Counter,
    /// Wrong passwords and tokens, and requests without one where one is needed.
    pub auth_failures: Counter,
    /// Bytes read.
    pub bytes_in: Counter,
    /// Bytes written.
    pub bytes_out: Counter,
    /// From the moment that a batch's bytes were read until its answers were ready, once for each decision of the batch.
    pub decision_time: Histogram,
}

impl Default for FrontEndCounters {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            refused: std::array::from_fn(|_| Counter::default()),
            closed: std::array::from_fn(|_| Counter::default()),
            commands: std::array::from_fn(|_| Counter::default()),
            protocol_errors: Counter::default(),
            auth_failures: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            decision_time: Histogram::default(),
        }
    }
}

impl FrontEndCounters {
    /// A connection was accepted. Each one must be told as closed later, once.
    pub fn accepted(&self) {
        self.accepted.inc();
    }

    /// A connection was refused at once; it was never accepted, and is never told as closed.
    pub fn refused(&self, why: RefusedConnection) {
        if let Some(counter) = self.refused.get(why.index()) {
            counter.inc();
        }
    }

    /// An accepted connection ended.
    pub fn closed(&self, why: ClosedConnection) {
        if let Some(counter) = self.closed.get(why.index()) {
            counter.inc();
        }
    }

    /// So many requests of this command were understood.
    pub fn commands(&self, command: Command, times: u64) {
        if let Some(counter) = self.commands.get(command.index()) {
            counter.add(times);
        }
    }

    /// A batch with `decisions` decisions took `nanos` from the end of `read()` until its answers were ready.
    pub fn decided(&self, decisions: u64, nanos: u64) {
        self.decision_time.observe(nanos, decisions);
    }

    /// Connections accepted since start.
    #[must_use]
    pub fn accepted_total(&self) -> u64 {
        self.accepted.get()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        let closed = self.closed.iter().map(Counter::get).fold(0, u64::saturating_add);
        self.accepted.get().saturating_sub(closed)
    }

    /// Connections refused for this reason since start.
    #[must_use]
    pub fn refused_total(&self, why: RefusedConnection) -> u64 {
        self.refused.get(why.index()).map_or(0, Counter::get)
    }

    /// Connections closed for this reason since start.
    #[must_use]
    pub fn closed_total(&self, why: ClosedConnection) -> u64 {
        self.closed.get(why.index()).map_or(0, Counter::get)
    }

    /// Requests of this command since start.
    #[must_use]
    pub fn commands_total(&self, command: Command) -> u64 {
        self.commands.get(command.index()).map_or(0, Counter::get)
    }
}

/// The journal's counters. Shared with the journal's shards and its thread.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Records appended.
    pub appended: Counter,
    /// Records that could not be kept: a restart would not know what they said.
    pub dropped: Counter,
    /// Bytes appended.
    pub bytes: Counter,
    /// Segments begun.
    pub segments: Counter,
    /// Snapshots completed (each lets older segments go).
    pub snapshots: Counter,
    /// Errors of the disk.
    pub errors: Counter,
    /// Gauge: bytes of all files on disk.
    pub disk_bytes: Counter,
    /// Gauge: 1 while the journal keeps everything, 0 while it is degraded.
    pub healthy: Counter,
    /// Records read at start.
    pub recovered: Counter,
    /// Calls live again at start.
    pub recovered_calls: Counter,
    /// Calls that were live in the journal at start and did not fit into the table.
    pub recovery_dropped: Counter,
    /// Damaged tails found at start.
    pub torn_tails: Counter,
}

/// Counters of the shell itself. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    // Padded: each front end has its own threads, which must not share cache lines.
    front_ends: [CachePadded<FrontEndCounters>; FrontEnd::COUNT],
    datagrams: CachePadded<DatagramCounters>,
    journal: Arc<JournalCounters>,
    reloads: Counter,
    reloads_refused: Counter,
    housekeeping_rounds: Counter,
}

impl Counters {
    /// One front end's counters.
    #[must_use]
    pub fn front(&self, front_end: FrontEnd) -> &FrontEndCounters {
        // One slot per front end, by construction.
        &self.inner.front_ends[front_end.index()]
    }

    /// The datagram front end's own counters.
    #[must_use]
    pub fn datagrams(&self) -> &DatagramCounters {
        &self.inner.datagrams
    }

    /// The journal's counters, to share with its thread.
    #[must_use]
    pub fn journal(&self) -> &Arc<JournalCounters> {
        &self.inner.journal
    }

    /// Reloads that took effect.
    #[must_use]
    pub fn reloads(&self) -> &Counter {
        &self.inner.reloads
    }

    /// Reloads that were refused; the old configuration stayed.
    #[must_use]
    pub fn reloads_refused(&self) -> &Counter {
        &self.inner.reloads_refused
    }

    /// Rounds of housekeeping: it stands still if the slow path hangs.
    #[must_use]
    pub fn housekeeping_rounds(&self) -> &Counter {
        &self.inner.housekeeping_rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_connections_are_the_accepted_ones_that_were_not_closed() {
        let counters = Counters::default();
        let resp = counters.front(FrontEnd::Resp);
        resp.accepted();
        resp.accepted();
        resp.refused(RefusedConnection::Limit);
        resp.closed(ClosedConnection::Idle);
        assert_eq!((resp.open(), resp.accepted_total()), (1, 2));
        assert_eq!(resp.refused_total(RefusedConnection::Limit), 1);
        assert_eq!(resp.closed_total(ClosedConnection::Idle), 1);
        assert_eq!(counters.front(FrontEnd::Http).open(), 0);
    }

    #[test]
    fn a_clone_counts_into_the_same_counters() {
        let counters = Counters::default();
        counters.clone().front(FrontEnd::Http).commands(Command::Admit, 3);
        assert_eq!(counters.front(FrontEnd::Http).commands_total(Command::Admit), 3);
    }
}
