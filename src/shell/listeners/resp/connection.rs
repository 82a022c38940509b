//! One RESP connection: waits, reads once, decides, writes once.
//!
//! What must stay true: no answer is read past (the next bytes are read when the last answers were taken), and what waits
//! in either direction is bounded by one command and one reply above fixed marks, and in sum by the front end's budget.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::super::peers::{ALLOWANCE_BYTES, Entered, Peer, Reading, Wait};
use super::super::shared::Shared;
use super::session::{Session, Step};
use super::slow;
use crate::shell::telemetry::{ClosedConnection, FrontEnd};
use crate::units::Tick;

/// Bytes that one `read()` takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Buffers of a connection that grew beyond this are given back when they are empty.
const KEPT_BYTES: usize = ALLOWANCE_BYTES / 2;

/// What a connection is told that wants more than the front end may hold.
const NO_BUFFERS: &[u8] =
    b"-ERR too many bytes are buffered for all clients; send smaller requests, or fewer at once\r\n";

/// Reads that are thrown away, at most, after an error ended a connection.
const DISCARDED_READS: usize = 32;

/// A reactor's buffers, used between two waits only.
struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { input: vec![0; READ_BYTES], output: Vec::with_capacity(READ_BYTES) });
}

/// Serves a connection to its end.
pub(super) async fn serve(mut entered: Entered, shared: Arc<Shared>) {
    let peer = Arc::clone(&entered.peer);
    let mut connection = Connection {
        session: Session::new(&shared, &peer),
        shared,
        peer,
        unread: Vec::new(),
        needed: 0,
        unwritten: Vec::new(),
        written: 0,
        rest_since: None,
    };
    let why = match connection.run().await {
        Ok(why) => why,
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            ClosedConnection::Client
        }
        Err(_) => ClosedConnection::Io,
    };
    entered.ends_for(why);
}

struct Connection {
    session: Session,
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    /// What was read and not yet understood: the beginning of a command, or commands behind a pause.
    unread: Vec<u8>,
    /// Looking at `unread` before it has so many bytes is of no use.
    needed: usize,
    /// What was answered and not yet taken.
    unwritten: Vec<u8>,
    /// How much of it was taken.
    written: usize,
    /// When the first byte of the command in `unread` came.
    rest_since: Option<Tick>,
}

/// What a turn ended with.
enum Turn {
    /// Nothing to do before more bytes come; `full`: there probably are some already.
    Read { full: bool },
    /// There is more to understand in `unread`.
    Again,
    /// Something that must not run on the reactor.
    Slow(slow::Job),
    /// Wrong password: wait, to slow down who tries them all.
    Penalty(Duration),
    /// Answer what is answered, and close.
    Close(ClosedConnection),
}

impl Connection {
    async fn run(&mut self) -> io::Result<ClosedConnection> {
        let mut again = false;
        loop {
            let turn = if again {
                self.turn(0)
            } else {
                self.peer.stream.readable().await?;
                match self.read_turn() {
                    Ok(turn) => turn,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
            };
            if !self.hold() {
                return self.give_up().await;
            }
            if !self.unwritten.is_empty() {
                self.flush().await?;
            }
            again = false;
            match turn {
                Turn::Read { full } => {
                    if full {
                        // A client that never pauses must not keep the others waiting.
                        tokio::task::yield_now().await;
                    }
                }
                Turn::Again => {
                    tokio::task::yield_now().await;
                    again = true;
                }
                Turn::Slow(job) => {
                    self.peer.waits(Wait::Us, self.shared.resp.coarse());
                    self.unwritten = slow::run(job, &self.shared).await;
                    if !self.hold() {
                        return self.give_up().await;
                    }
                    self.flush().await?;
                    again = true;
                }
                Turn::Penalty(pause) => {
                    tokio::time::sleep(pause).await;
                    again = true;
                }
                Turn::Close(why) => {
                    if matches!(why, ClosedConnection::Protocol | ClosedConnection::TooLarge | ClosedConnection::Auth) {
                        self.let_it_read().await;
                    }
                    return Ok(why);
                }
            }
        }
    }

    /// Takes what it buffers from the front end's budget; `false`: it can't.
    fn hold(&self) -> bool {
        self.shared.resp.hold(&self.peer, self.unread.capacity() + self.unwritten.capacity())
    }

    /// Lets go of every buffer, and ends: the budget of the front end is used up.
    async fn give_up(&mut self) -> io::Result<ClosedConnection> {
        self.unread = Vec::new();
        // In the middle of an answer there is no place for an error.
        let told = self.unwritten.is_empty();
        self.unwritten = Vec::new();
        self.shared.resp.hold(&self.peer, 0);
        if told {
            // The socket takes it or not: the connection ends.
            let _ = self.peer.stream.try_write(NO_BUFFERS);
            self.let_it_read().await;
        }
        Ok(ClosedConnection::Buffers)
    }

    /// Ends the answers, and takes what still comes for a moment: a socket that is closed with bytes unread is reset, and
    /// the client would lose the error that explains it.
    async fn let_it_read(&self) {
        self.peer.stream.shutdown(Shutdown::Write);
        let discard = async {
            for _ in 0..DISCARDED_READS {
                if self.peer.stream.readable().await.is_err() {
                    return;
                }
                match SCRATCH.with_borrow_mut(|scratch| self.peer.stream.try_read(&mut scratch.input)) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Either is fine: it read, or it had its time.
        let _ = tokio::time::timeout(Duration::from_millis(500), discard).await;
    }

    /// Reads once, and goes on with what came.
    fn read_turn(&mut self) -> io::Result<Turn> {
        let read = SCRATCH.with_borrow_mut(|scratch| self.peer.stream.try_read(&mut scratch.input))?;
        if read == 0 {
            let drained = self.shared.stop.is_cancelled();
            return Ok(Turn::Close(if drained { ClosedConnection::Drain } else { ClosedConnection::Client }));
        }
        Ok(self.turn(read))
    }

    /// Goes on with what is unread and the `read` bytes in the reactor's buffer. Decides, and writes what can be written.
    fn turn(&mut self, read: usize) -> Turn {
        SCRATCH.with_borrow_mut(|scratch| {
            // The clock is read after the bytes: a limit raised before them counts for them.
            let now = self.shared.context.clock.now();
            let fresh = scratch.input.get(..read).unwrap_or(&[]);
            let counters = self.shared.context.counters.front(FrontEnd::Resp);
            counters.bytes_in.add(u64::try_from(read).unwrap_or(0));
            let buffered = !self.unread.is_empty();
            if buffered {
                self.unread.extend_from_slice(fresh);
                if self.unread.len() < self.needed {
                    return Turn::Read { full: false };
                }
            }
            let input = if buffered { self.unread.as_slice() } else { fresh };
            scratch.output.clear();
            let (consumed, step) = self.session.process(&self.shared, input, now, &mut scratch.output);
            // What is left stays; nothing was copied if nothing is left.
            if buffered {
                self.unread.drain(..consumed);
                if self.unread.is_empty() && self.unread.capacity() > KEPT_BYTES {
                    self.unread = Vec::new();
                }
            } else {
                self.unread.extend_from_slice(fresh.get(consumed..).unwrap_or(&[]));
            }
            if self.unread.is_empty() {
                self.rest_since = None;
                self.peer.waits(Wait::Request, now.tick);
            } else {
                if consumed > 0 || self.rest_since.is_none() {
                    self.rest_since = Some(now.tick);
                }
                self.peer.waits(Wait::Rest, self.rest_since.unwrap_or(now.tick));
            }
            self.write_now(&scratch.output);
            if scratch.output.capacity() > 16 * READ_BYTES {
                scratch.output = Vec::with_capacity(READ_BYTES);
            }
            self.needed = 0;
            match step {
                Step::More { needed } => {
                    self.needed = needed;
                    Turn::Read { full: read == READ_BYTES }
                }
                Step::OutputFull => Turn::Again,
                Step::Slow(job) => Turn::Slow(job),
                Step::Penalty(pause) => Turn::Penalty(pause),
                Step::Close(why) => Turn::Close(why),
            }
        })
    }

    /// Writes what the socket takes at once; the rest waits in `unwritten`.
    fn write_now(&mut self, output: &[u8]) {
        if output.is_empty() {
            return;
        }
        let counters = self.shared.context.counters.front(FrontEnd::Resp);
        counters.bytes_out.add(u64::try_from(output.len()).unwrap_or(0));
        // An error shows again at the next write.
        let taken = self.peer.stream.try_write(output).unwrap_or(0);
        if let Some(rest @ [_, ..]) = output.get(taken..) {
            self.unwritten.extend_from_slice(rest);
        }
    }

    /// Waits until the client has taken every answer.
    async fn flush(&mut self) -> io::Result<()> {
        let mut reading = Reading::begun(self.shared.context.clock.tick());
        self.peer.waits(Wait::Reader, reading.since());
        while let Some(rest @ [_, ..]) = self.unwritten.get(self.written..) {
            match self.peer.stream.try_write(rest) {
                Ok(taken) => {
                    self.written += taken;
                    reading.took(taken, self.shared.context.clock.tick());
                    self.peer.waits(Wait::Reader, reading.since());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.peer.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.unwritten.clear();
        if self.unwritten.capacity() > KEPT_BYTES {
            self.unwritten = Vec::new();
        }
        self.hold();
        let now = self.shared.context.clock.tick();
        match self.rest_since {
            Some(since) => self.peer.waits(Wait::Rest, since),
            None => self.peer.waits(Wait::Request, now),
        }
        Ok(())
    }
}
