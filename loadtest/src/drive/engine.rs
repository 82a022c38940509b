//! The loop: what is due goes out, what has come is answered, then wait for the earlier of both.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};

use super::connection::Connection;
use super::poller::Poller;
use super::{Due, Progress, Source};
use crate::clock::Clock;
use crate::span::MILLISECOND;
use crate::target::Target;
use crate::wire::{Reply, Wire};

/// How a source is carried.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Connections.
    pub connections: usize,
    /// Questions that a connection carries at once, at most.
    pub pipeline: usize,
    /// How long after the last question its answer is waited for, in nanoseconds.
    pub patience: u64,
}

/// Why nothing was driven, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The first connections could not be made.
    #[error("{target} does not take connections: {source}")]
    Connect {
        /// Where.
        target: String,
        /// Why.
        source: std::io::Error,
    },
    /// The system's poller failed.
    #[error("the poller failed: {0}")]
    Poll(#[from] std::io::Error),
}

/// Until a lost connection is made anew.
const RECONNECT: u64 = 200 * MILLISECOND;
const PUBLISH: u64 = 100 * MILLISECOND;
/// A question that is due later than this is waited for again.
const WAIT_MAX: u64 = 100 * MILLISECOND;
const READ: usize = 64 * 1024;

/// Asks until the source has nothing more to ask and everything is answered, or patience ends. Answers that are missing then are
/// told to the source as lost.
///
/// # Errors
/// See [`DriveError`]. A connection that is lost later is no error: it is made anew, and the source is told.
pub fn run<S: Source>(
    source: &mut S,
    target: &Target,
    how: &How,
    clock: &Clock,
    progress: &Progress,
) -> Result<(), DriveError> {
    let mut engine = Engine::open(target, how)?;
    engine.drive(source, clock, progress)?;
    engine.abandon(source);
    source.tell(progress);
    Ok(())
}

struct Engine<'a, M> {
    target: &'a Target,
    wire: Wire,
    pipeline: usize,
    patience: u64,
    poller: Poller,
    connections: Vec<Option<Connection<M>>>,
    /// Connections that are down, with the instant of the next try.
    down: Vec<(usize, u64)>,
    /// Connections with room in their pipeline, each once.
    roomy: VecDeque<usize>,
    /// Connections with something to write that nobody has tried to write.
    dirty: Vec<usize>,
    in_flight: usize,
    buffer: Vec<u8>,
}

impl<'a, M: Copy> Engine<'a, M> {
    fn open(target: &'a Target, how: &How) -> Result<Self, DriveError> {
        let poller = Poller::new(how.connections)?;
        let mut connections = Vec::with_capacity(how.connections);
        for number in 0..how.connections {
            let opened =
                Connection::open(&target.address).and_then(|made| poller.add(&made.stream, number).map(|()| made));
            connections
                .push(Some(opened.map_err(|source| DriveError::Connect { target: target.to_string(), source })?));
        }
        Ok(Self {
            target,
            wire: target.wire,
            pipeline: how.pipeline.min(target.wire.pipeline_max()),
            patience: how.patience,
            poller,
            roomy: (0..how.connections).collect(),
            connections,
            down: Vec::new(),
            dirty: Vec::new(),
            in_flight: 0,
            buffer: vec![0; READ],
        })
    }

    fn drive<S: Source<Mark = M>>(
        &mut self,
        source: &mut S,
        clock: &Clock,
        progress: &Progress,
    ) -> Result<(), DriveError> {
        let mut ready = Vec::with_capacity(self.connections.len());
        let mut publish_at = 0;
        let mut idle_since = None;
        loop {
            let now = clock.now();
            let due = self.fill(source, now);
            self.flush_dirty(source, now);
            if now >= publish_at {
                publish_at = now + PUBLISH;
                progress.at(now);
                source.tell(progress);
                self.reconnect(source, now);
            }
            let wait = match due {
                // What is due has no room, or all of it went out and more was due at once: an answer wakes us up.
                Due::At(at) if at <= now => WAIT_MAX,
                Due::At(at) => (at - now).min(WAIT_MAX),
                Due::Idle if self.in_flight == 0 => return Ok(()),
                Due::Idle => {
                    let since = *idle_since.get_or_insert(now);
                    if now.saturating_sub(since) > self.patience {
                        return Ok(());
                    }
                    WAIT_MAX
                }
            };
            if due != Due::Idle {
                idle_since = None;
            }
            self.poller.wait(wait, &mut ready)?;
            for number in &ready {
                self.receive(source, *number, clock);
            }
        }
    }

    /// Puts what is due on connections with room. When the next is due.
    fn fill<S: Source<Mark = M>>(&mut self, source: &mut S, now: u64) -> Due {
        loop {
            let due = source.due(now);
            match due {
                Due::At(at) if at <= now => {}
                Due::At(_) | Due::Idle => return due,
            }
            let Some(number) = self.roomy.pop_front() else { return due };
            self.dirty.push(number);
            if source.eager() {
                self.fill_one(source, number, now);
                continue;
            }
            let Some(Some(connection)) = self.connections.get_mut(number) else { continue };
            let mark = source.ask(number, now, &mut connection.out);
            connection.in_flight.push_back((mark, now));
            self.in_flight += 1;
            if connection.in_flight.len() < self.pipeline {
                // Behind the others: questions that are due together spread over the connections.
                self.roomy.push_back(number);
            }
        }
    }

    /// Fills one connection's pipeline with what is due.
    fn fill_one<S: Source<Mark = M>>(&mut self, source: &mut S, number: usize, now: u64) {
        let Some(Some(connection)) = self.connections.get_mut(number) else { return };
        while connection.in_flight.len() < self.pipeline {
            match source.due(now) {
                Due::At(at) if at <= now => {}
                Due::At(_) | Due::Idle => {
                    self.roomy.push_back(number);
                    break;
                }
            }
            let mark = source.ask(number, now, &mut connection.out);
            connection.in_flight.push_back((mark, now));
            self.in_flight += 1;
        }
    }

    fn flush_dirty<S: Source<Mark = M>>(&mut self, source: &mut S, now: u64) {
        while let Some(number) = self.dirty.pop() {
            self.flush(source, number, now);
        }
    }

    fn flush<S: Source<Mark = M>>(&mut self, source: &mut S, number: usize, now: u64) {
        let Some(Some(connection)) = self.connections.get_mut(number) else { return };
        if connection.out.is_empty() {
            return;
        }
        let written = connection.flush().and_then(|left| {
            if left != connection.waits_for_room {
                self.poller.want_room(&connection.stream, number, left)?;
                connection.waits_for_room = left;
            }
            Ok(())
        });
        if let Err(error) = written {
            self.lose(source, number, now, &error.to_string());
        }
    }

    fn receive<S: Source<Mark = M>>(&mut self, source: &mut S, number: usize, clock: &Clock) {
        let Some(Some(connection)) = self.connections.get_mut(number) else { return };
        let was_full = connection.in_flight.len() >= self.pipeline;
        let read = connection.stream.read(&mut self.buffer);
        let now = clock.now();
        let count = match read {
            Ok(0) => return self.lose(source, number, now, "closed by the other side"),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return self.lose(source, number, now, &error.to_string()),
        };
        if count > 0 {
            let mut answers = 0;
            let taken = take_answers(self.wire, connection, &self.buffer[..count], |(mark, sent), reply| {
                answers += 1;
                source.answered(mark, sent, now, reply);
            });
            self.in_flight -= answers;
            if let Err(reason) = taken {
                return self.lose(source, number, now, &reason);
            }
        }
        if was_full && connection.in_flight.len() < self.pipeline {
            if source.eager() {
                self.fill_one(source, number, now);
            } else {
                self.roomy.push_back(number);
            }
        }
        self.flush(source, number, now);
    }

    fn lose<S: Source<Mark = M>>(&mut self, source: &mut S, number: usize, now: u64, reason: &str) {
        if let Some(lost) = self.connections.get_mut(number).and_then(Option::take) {
            self.in_flight -= lost.in_flight.len();
            for (mark, _) in lost.in_flight {
                source.lost(mark);
            }
            self.roomy.retain(|other| *other != number);
            source.disconnected(reason);
            self.down.push((number, now + RECONNECT));
        }
    }

    /// Makes lost connections anew, one at a time: each try may take a while.
    fn reconnect<S: Source<Mark = M>>(&mut self, source: &mut S, now: u64) {
        let Some(place) = self.down.iter().position(|(_, at)| *at <= now) else { return };
        let (number, _) = self.down.swap_remove(place);
        let made = Connection::open(&self.target.address)
            .and_then(|made| self.poller.add(&made.stream, number).map(|()| made));
        match made {
            Ok(made) => {
                if let Some(slot) = self.connections.get_mut(number) {
                    *slot = Some(made);
                    self.roomy.push_back(number);
                }
            }
            Err(error) => {
                source.disconnected(&format!("can't be made anew: {error}"));
                self.down.push((number, now + RECONNECT));
            }
        }
    }

    /// Nobody waits for the rest.
    fn abandon<S: Source<Mark = M>>(&mut self, source: &mut S) {
        for connection in self.connections.iter_mut().flatten() {
            for (mark, _) in connection.in_flight.drain(..) {
                source.lost(mark);
            }
        }
    }
}

/// Reads all whole answers of what has come.
///
/// # Errors
/// Why the connection is of no use any more.
fn take_answers<M: Copy>(
    wire: Wire,
    connection: &mut Connection<M>,
    came: &[u8],
    mut answered: impl FnMut((M, u64), &Reply<'_>),
) -> Result<(), String> {
    let mut joined = std::mem::take(&mut connection.rest);
    let bytes = if joined.is_empty() {
        came
    } else {
        joined.extend_from_slice(came);
        &joined
    };
    let mut used = 0;
    while used < bytes.len() {
        match wire.parse(&bytes[used..]) {
            Ok(Some((reply, length))) => {
                used += length;
                let asked = connection.in_flight.pop_front().ok_or("an answer that nothing was asked for")?;
                answered(asked, &reply);
            }
            Ok(None) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    if used < bytes.len() {
        connection.rest = bytes[used..].to_vec();
    }
    Ok(())
}
