//! The limiter's own figures while it is loaded: how much of each limit is in use.
//!
//! A thread of its own asks on a connection of its own, so that the load does not wait for it. A limiter that does not know the
//! question is not asked again.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::drive::Stream;
use crate::span::Span;
use crate::target::Target;
use crate::wire::Kind;

/// The figures at one instant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at_s: f64,
    /// By limit.
    pub limits: Vec<LimitUse>,
}

/// One limit and its use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitUse {
    /// Its name.
    pub name: String,
    /// What it allows; nothing where it does not limit.
    pub limit: Option<u64>,
    /// How much is in use.
    pub used: u64,
}

#[derive(Deserialize)]
struct Document {
    limits: Vec<LimitUse>,
}

/// A thread that asks.
#[derive(Debug)]
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

/// Samples that are kept.
const SAMPLES_MAX: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(2);

impl Sampler {
    /// Asks each `every` from now on; never, if that is zero.
    #[must_use]
    pub fn start(target: &Target, every: Span, clock: Clock) -> Self {
        let (stop, stopped) = channel();
        let target = target.clone();
        let thread =
            std::thread::spawn(move || if every.0 == 0 { Vec::new() } else { sample(&target, every, clock, &stopped) });
        Self { stop, thread }
    }

    /// Ends it. What it saw.
    #[must_use]
    pub fn finish(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

fn sample(target: &Target, every: Span, clock: Clock, stopped: &Receiver<()>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let Ok(mut stream) = Stream::open(&target.address) else { return samples };
    while samples.len() < SAMPLES_MAX {
        let Some(limits) = ask(target, &mut stream) else { break };
        samples.push(Sample { at_s: Span(clock.now()).seconds(), limits });
        match stopped.recv_timeout(Duration::from_nanos(every.0)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    samples
}

fn ask(target: &Target, stream: &mut Stream) -> Option<Vec<LimitUse>> {
    stream.wait_at_most(PATIENCE).ok()?;
    let (mut question, mut answer, mut buffer) = (Vec::new(), Vec::new(), [0; 16 * 1024]);
    target.wire.status(&mut question);
    stream.write_all(&question).ok()?;
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(&buffer[..count]);
        if let Some((reply, _)) = target.wire.parse(&answer).ok()? {
            let document = (reply.kind == Kind::Text).then(|| serde_json::from_slice::<Document>(reply.text))?;
            return document.ok().map(|document| document.limits);
        }
    }
}
