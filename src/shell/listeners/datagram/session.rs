//! What the datagrams of one wake-up say and are answered: everything but the socket.

use smallvec::SmallVec;

use super::super::decision_log;
use super::super::shared::Shared;
use crate::admission::{ProxyEpoch, Request};
use crate::codec::datagram::{ANSWER_BYTES, Answered, Bad, ErrorCode, Fault, Message, Messages, Outcome, Stray, Verb};
use crate::shell::telemetry::{Command as Counted, DroppedDatagram, FrontEnd, FrontEndCounters};
use crate::units::Now;

/// Requests that are decided together.
const BATCH: usize = 64;

/// A request that waits to be decided, and where its answer goes.
struct Waiting {
    place: usize,
    request_id: u64,
    verb: Verb,
}

/// Requests that wait to be decided together, borrowed from the datagrams.
#[derive(Default)]
struct Batch<'a> {
    requests: SmallVec<[Request<'a>; BATCH]>,
    waiting: SmallVec<[Waiting; BATCH]>,
}

/// How many of each, until they are counted once.
#[derive(Default)]
struct Seen {
    admits: u64,
    confirms: u64,
    releases: u64,
    refreshes: u64,
    others: u64,
}

/// Reads datagrams one after the other; their requests are decided together, whichever datagram they came in.
pub(super) struct Session<'s, 'a> {
    shared: &'s Shared,
    now: Now,
    batch: Batch<'a>,
    seen: Seen,
    password: bool,
}

impl<'s, 'a> Session<'s, 'a> {
    pub(super) fn new(shared: &'s Shared, now: Now) -> Self {
        let password = shared.access.load().resp_password.is_some();
        Self { shared, now, batch: Batch::default(), seen: Seen::default(), password }
    }

    fn counters(&self) -> &'s FrontEndCounters {
        self.shared.context.counters.front(FrontEnd::Datagram)
    }

    /// Looks at one datagram and appends its answers. They are whole when the session has ended.
    pub(super) fn take(&mut self, datagram: &'a [u8], out: &mut Vec<u8>) {
        let mut open = !self.password;
        let mut guessed_wrong = false;
        for read in Messages::new(datagram) {
            let read = match read {
                Ok(read) => read,
                Err(Bad::Answer { request_id, verb, fault }) => {
                    self.counters().protocol_errors.inc();
                    answer(out, request_id, verb, Outcome::Error(fault));
                    continue;
                }
                Err(Bad::Drop(why)) => {
                    self.counters().protocol_errors.inc();
                    self.shared.context.counters.datagrams().drop_one(dropped(why));
                    return;
                }
            };
            let verb = read.message.verb();
            match read.message {
                Message::Auth(password) => {
                    // One guess in a datagram.
                    open = !guessed_wrong && self.auth(password.bytes());
                    guessed_wrong |= !open;
                    let outcome = if open { Outcome::Known(true) } else { NO_AUTH };
                    self.seen.others += 1;
                    answer(out, read.request_id, verb.code(), outcome);
                }
                _ if !open => {
                    self.counters().auth_failures.inc();
                    answer(out, read.request_id, verb.code(), NO_AUTH);
                }
                Message::Decide(request) => {
                    self.seen.count(&request);
                    self.batch.waiting.push(Waiting { place: out.len(), request_id: read.request_id, verb });
                    self.batch.requests.push(request);
                    // Its place; the answer is written there when it is decided.
                    out.extend_from_slice(&[0; ANSWER_BYTES]);
                    if self.batch.requests.len() == BATCH {
                        self.decide(out);
                    }
                }
                Message::Proxy { name, epoch } => {
                    // In the order that they were sent.
                    self.decide(out);
                    let outcome = match self.shared.context.gate.proxy_epoch(name, epoch, self.now) {
                        ProxyEpoch::New => {
                            self.shared.tell_epoch(name.bytes(), epoch);
                            Outcome::Known(true)
                        }
                        ProxyEpoch::Known => Outcome::Known(true),
                        ProxyEpoch::Full => Outcome::Error(Fault { error: ErrorCode::Proxies, accepted: (0, 0) }),
                    };
                    self.counters().commands(Counted::Proxy, 1);
                    answer(out, read.request_id, verb.code(), outcome);
                }
                Message::Ping => {
                    self.seen.others += 1;
                    answer(out, read.request_id, verb.code(), Outcome::Known(true));
                }
            }
        }
    }

    /// Decides what still waits: all answers are whole then.
    pub(super) fn end(mut self, out: &mut [u8]) {
        self.decide(out);
        let clock = self.shared.context.clock;
        self.seen.tell(self.counters(), || clock.tick().nanos_since(self.now.tick));
    }

    /// Decides what waits, and puts the answers into their places.
    fn decide(&mut self, out: &mut [u8]) {
        if self.batch.requests.is_empty() {
            return;
        }
        let log = decision_log::on();
        let mut asked = self.batch.requests.iter();
        let mut waiting = self.batch.waiting.iter();
        self.shared.context.gate.run(&self.batch.requests, self.now, |decided| {
            if log && let Some(request) = asked.next() {
                decision_log::tell(request, &decided);
            }
            let Some(Waiting { place, request_id, verb }) = waiting.next() else { return };
            let answered = Answered { request_id: *request_id, verb: verb.code(), outcome: Outcome::from(&decided) };
            if let Some(slot) = out.get_mut(*place..).and_then(|rest| rest.first_chunk_mut::<ANSWER_BYTES>()) {
                *slot = answered.to_bytes();
            }
        });
        self.batch.requests.clear();
        self.batch.waiting.clear();
    }

    /// Whether this opens what follows.
    fn auth(&self, password: &[u8]) -> bool {
        let access = self.shared.access.load();
        // Where none is asked for, any is as good: a client need not know.
        let matches = access.resp_password.as_ref().is_none_or(|expected| expected.matches(password));
        if !matches {
            self.counters().auth_failures.inc();
            if let Some(attempts) = self.shared.wrong_passwords.tell(self.now.tick) {
                tracing::warn!(attempts, "wrong password in a datagram");
            }
        }
        matches
    }
}

const NO_AUTH: Outcome = Outcome::Error(Fault { error: ErrorCode::Auth, accepted: (0, 0) });

fn answer(out: &mut Vec<u8>, request_id: u64, verb: u8, outcome: Outcome) {
    out.extend_from_slice(&Answered { request_id, verb, outcome }.to_bytes());
}

const fn dropped(why: Stray) -> DroppedDatagram {
    match why {
        Stray::Short => DroppedDatagram::Short,
        Stray::Magic => DroppedDatagram::Magic,
        Stray::Answer => DroppedDatagram::Answer,
    }
}

impl Seen {
    fn count(&mut self, request: &Request<'_>) {
        match request {
            Request::Admit(_) => self.admits += 1,
            Request::Confirm { .. } => self.confirms += 1,
            Request::Release { .. } => self.releases += 1,
            Request::Refresh { .. } => self.refreshes += 1,
        }
    }

    fn tell(&self, counters: &FrontEndCounters, nanos: impl FnOnce() -> u64) {
        let counts = [
            (Counted::Admit, self.admits),
            (Counted::Confirm, self.confirms),
            (Counted::Release, self.releases),
            (Counted::Refresh, self.refreshes),
            (Counted::Connection, self.others),
        ];
        for (command, times) in counts.into_iter().filter(|(_, times)| *times > 0) {
            counters.commands(command, times);
        }
        let decisions = self.admits + self.confirms + self.releases + self.refreshes;
        if decisions > 0 {
            counters.decided(decisions, nanos());
        }
    }
}
