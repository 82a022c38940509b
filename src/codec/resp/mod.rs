//! RESP 2 and 3, as Redis clients speak it.
//!
//! Decoding has two steps. [`frame::next`] cuts one command out of the buffer: its arguments, as slices of it.
//! [`Command::parse`] gives them meaning, still without copying. The first step's errors end the connection, because
//! what follows can't be told apart from what is broken; the second step's errors are answered, and the next command is
//! read.
//!
//! ```
//! use callgate::codec::resp::{Args, Command, Limits, Progress, frame};
//! let input = b"*2\r\n$5\r\nADMIT\r\n$3\r\nabc\r\n";
//! let mut args = Args::new();
//! let progress = frame::next(input, &Limits::default(), &mut args).unwrap();
//! assert_eq!(progress, Progress::Complete { consumed: input.len() });
//! assert!(matches!(Command::parse(&args).unwrap(), Command::Decide(..)));
//! ```

mod command;
mod command_error;
pub mod encode;
pub mod frame;
mod options;
pub mod reply;

pub use command::{ClientCommand, Command, CommandQuery, DecideForm, Hello, IdList};
pub use command_error::CommandError;
pub use frame::{Args, Limits, Progress, ProtocolError};
pub use reply::Protocol;

#[cfg(test)]
mod tests;
