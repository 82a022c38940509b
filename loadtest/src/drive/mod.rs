//! Sends questions and takes answers, on one thread, with as little work per question as there can be.
//!
//! A [`Source`] says what is asked when; [`run`] carries it over many connections. Nothing here waits for an answer before it
//! sends what is due: only a pipeline that is full on every connection holds a question back, and its latency counts on.

mod calls;
mod connection;
mod engine;
mod poller;
mod progress;
mod steady;

pub use calls::PlannedCalls;
pub(crate) use connection::Stream;
pub use engine::{DriveError, How, run};
pub use progress::{Progress, Snapshot};
pub use steady::{Pace, Steady, Work};

use crate::wire::Reply;

/// When the next question is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At that instant; one that is over is due now.
    At(u64),
    /// Not before something is answered; if nothing is to be answered any more, all is over.
    Idle,
}

/// What is asked.
pub trait Source {
    /// What it wants to know again with the answer.
    type Mark: Copy;
    /// Whether a connection's pipeline is filled as soon as there is room, rather than by turns.
    fn eager(&self) -> bool;
    /// When the next question is due.
    fn due(&mut self, now: u64) -> Due;
    /// Writes the question that is due, for that connection.
    fn ask(&mut self, connection: usize, now: u64, out: &mut Vec<u8>) -> Self::Mark;
    /// Its answer. `sent` lies before the sending, `now` behind the receipt.
    fn answered(&mut self, mark: Self::Mark, sent: u64, now: u64, reply: &Reply<'_>);
    /// There will be no answer.
    fn lost(&mut self, mark: Self::Mark);
    /// A connection was lost, for that reason.
    fn disconnected(&mut self, reason: &str);
    /// How far it is.
    fn tell(&self, progress: &Progress);
}
