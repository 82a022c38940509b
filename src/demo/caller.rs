//! The proxy's part: offers calls to one sidecar over RESP on its Unix socket, confirms them when they are answered and
//! releases them when they end.
//!
//! What must stay true: of each ADMIT the clock is read before it leaves and after its answer came; each admitted call is
//! released exactly once, at the latest when the demo ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arrivals, Call};
use super::judge::Attempt;
use crate::shell::clock::Clock;
use crate::units::Tick;

/// Commands that go out together, at most.
const BATCH: usize = 64;
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// One proxy.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) node: usize,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) arrivals: Arrivals,
    /// Where attempts go; whoever looks takes them out, once a second.
    pub(super) attempts: Arc<Mutex<Vec<Attempt>>>,
}

/// What a proxy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Called {
    pub(super) admitted: u64,
    /// Calls whose end the sidecar acknowledged.
    pub(super) released: u64,
}

/// What is to be done about a call. Of two at one instant the earlier stage comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Confirm { number: u64, talks: Duration },
    Release { number: u64 },
}

/// One command on its way.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Admit { number: u64, call: Call },
    Confirm { number: u64, talks: Duration },
    Release { number: u64 },
}

type Lines = BufReader<UnixStream>;

impl Caller {
    /// Offers calls from `begin` on until it is told to stop; then ends all that are live.
    ///
    /// # Errors
    /// If the sidecar goes away, hangs, or answers with an error.
    pub(super) async fn run(self, begin: Tick, stop: CancellationToken) -> Result<Called, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.socket.display());
        let mut lines = BufReader::new(UnixStream::connect(&self.socket).await.map_err(failed)?);
        let mut working =
            Working { begin, due: BinaryHeap::new(), numbers: 0, called: Called::default(), caller: self };
        let mut next = working.caller.arrivals.next();
        loop {
            let now = Clock.tick();
            let batch = working.batch(now, &mut next, stop.is_cancelled());
            if !batch.is_empty() {
                let told = tokio::time::timeout(ANSWER_TIME, working.exchange(&mut lines, &batch)).await;
                let late = |_| format!("{} gave no answer within {} s", working.caller.name, ANSWER_TIME.as_secs());
                told.map_err(late)?.map_err(|error| format!("{}: {error}", working.caller.name))?;
                continue;
            }
            if stop.is_cancelled() {
                return Ok(working.called);
            }
            let wake = working.wake(&next);
            let pause = tokio::time::sleep(Duration::from_nanos(wake.nanos_since(now)));
            tokio::select! {
                () = pause => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

struct Working {
    caller: Caller,
    begin: Tick,
    /// Each live call stands here once.
    due: BinaryHeap<Reverse<(Tick, Due)>>,
    numbers: u64,
    called: Called,
}

fn later(at: Tick, span: Duration) -> Tick {
    at.plus_nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

impl Working {
    fn wake(&self, next: &Call) -> Tick {
        let arrival = later(self.begin, next.at);
        self.due.peek().map_or(arrival, |Reverse((due, _))| arrival.min(*due))
    }

    /// What is due now. While it stops, nothing new comes and every live call is due to end.
    fn batch(&mut self, now: Tick, next: &mut Call, stopping: bool) -> Vec<Asked> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            if !stopping && later(self.begin, next.at) <= now {
                self.numbers += 1;
                batch.push(Asked::Admit { number: self.numbers, call: *next });
                *next = self.caller.arrivals.next();
                continue;
            }
            if !self.due.peek().is_some_and(|Reverse((due, _))| stopping || *due <= now) {
                break;
            }
            match self.due.pop() {
                Some(Reverse((_, Due::Confirm { number, talks }))) if !stopping => {
                    batch.push(Asked::Confirm { number, talks });
                }
                Some(Reverse((_, Due::Confirm { number, .. } | Due::Release { number }))) => {
                    batch.push(Asked::Release { number });
                }
                None => break,
            }
        }
        batch
    }

    async fn exchange(&mut self, lines: &mut Lines, batch: &[Asked]) -> Result<(), String> {
        let mut text = String::new();
        for asked in batch {
            let (verb, number, seq) = match asked {
                Asked::Admit { number, .. } => ("ADMIT", number, " SEQ 1"),
                Asked::Confirm { number, .. } => ("CONFIRM", number, ""),
                Asked::Release { number } => ("RELEASE", number, ""),
            };
            text.push_str(&format!("{verb} demo-{number}@{}{seq}\r\n", self.caller.name));
        }
        let asked_at = Clock.tick();
        lines.get_mut().write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut yes = Vec::with_capacity(batch.len());
        for _ in batch {
            yes.push(answer(lines).await?);
        }
        let answered_at = Clock.tick();
        let mut attempts = Vec::new();
        for (asked, yes) in batch.iter().zip(yes) {
            match *asked {
                Asked::Admit { number, call } => {
                    attempts.push(Attempt {
                        node: self.caller.node,
                        asked: asked_at,
                        answered: answered_at,
                        admitted: yes,
                    });
                    if yes {
                        self.called.admitted += 1;
                        let confirm = Due::Confirm { number, talks: call.talks };
                        self.due.push(Reverse((later(answered_at, call.rings), confirm)));
                    }
                }
                Asked::Confirm { number, talks } => {
                    self.due.push(Reverse((later(answered_at, talks), Due::Release { number })));
                }
                Asked::Release { .. } => self.called.released += u64::from(yes),
            }
        }
        self.caller.attempts.lock().append(&mut attempts);
        Ok(())
    }
}

/// One answer: an integer, or an array whose first element says yes or no.
async fn answer(lines: &mut Lines) -> Result<bool, String> {
    let first = line(lines).await?;
    let Some(count) = first.strip_prefix('*') else { return yes(&first) };
    let count: usize = count.parse().map_err(|_| unknown(&first))?;
    let head = line(lines).await?;
    let mut rest = count.saturating_sub(1);
    while rest > 0 {
        // A bulk string is two lines.
        rest = if line(lines).await?.starts_with('$') { rest } else { rest - 1 };
    }
    yes(&head)
}

fn yes(line: &str) -> Result<bool, String> {
    match line {
        ":1" => Ok(true),
        ":0" => Ok(false),
        other => Err(unknown(other)),
    }
}

fn unknown(line: &str) -> String {
    format!("answered {line:?}")
}

async fn line(lines: &mut Lines) -> Result<String, String> {
    let mut line = String::new();
    match lines.read_line(&mut line).await {
        Ok(0) => Err("closed the connection".to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
