//! Waiting: for a while, for something, or for a signal. The only place of the demo that waits.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::child::Child;
use crate::cli::Failure;

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// A signal asked the demo to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interrupted;

/// Waits. Children are started between two waits, by the thread that owns this.
#[derive(Debug)]
pub(super) struct Pace {
    runtime: Runtime,
    listening: [Signal; 3],
    signals: u32,
}

impl Pace {
    /// From now on signals don't end the process.
    ///
    /// # Errors
    /// If the operating system gives no threads or signals.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("callgate-demo")
            .enable_all()
            .build()?;
        let listening = {
            let _inside = runtime.enter();
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]
        };
        Ok(Self { runtime, listening, signals: 0 })
    }

    /// Where tasks run beside.
    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// How many signals came so far.
    pub(super) const fn signals(&self) -> u32 {
        self.signals
    }

    /// Waits so long, or for a signal.
    ///
    /// # Errors
    /// If one came.
    pub(super) fn pause(&mut self, span: Duration) -> Result<(), Interrupted> {
        // Timers are made inside the runtime.
        self.run(async move { tokio::time::sleep(span).await })
    }

    /// Waits for a future, or for a signal.
    ///
    /// # Errors
    /// If one came.
    pub(super) fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        let Self { runtime, listening: [interrupt, terminate, hangup], signals } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                done = work => return Ok(done),
            }
            *signals += 1;
            Err(Interrupted)
        })
    }

    /// Looks again and again until something is there.
    ///
    /// # Errors
    /// If a child ends meanwhile, the time is over, or a signal came.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        child: &mut Child,
        mut look: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if child.ended().is_some() {
                return Err(Failure::Refused(child.obituary()));
            }
            if waited >= limit {
                let late = format!("did not come so far within {} s: {what}", limit.as_secs());
                return Err(Failure::Refused(child.told(&late)));
            }
            self.pause(LOOK)?;
            waited += LOOK;
        }
    }
}

impl From<Interrupted> for Failure {
    fn from(_: Interrupted) -> Self {
        Self::Refused("stopped by a signal before any call was made".to_owned())
    }
}
