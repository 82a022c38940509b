//! Bytes between nodes: a versioned envelope for what goes over the stream and for datagrams, with postcard inside.
//!
//! ```text
//! stream    u32 length (big endian, of what follows) | u8 version | Message
//! datagram  u8 version | u8 kind | membership frame, Hint or Known
//! ```
//!
//! Where it stops: it moves no bytes, believes nothing (that the sender is the one that the certificate names is checked
//! by who is handed the message) and keeps nothing but the incomplete frame of one stream.
//!
//! What must stay true: no input makes it panic or take more memory than the bounds say; a version that it doesn't know
//! is named; what it reads, written again, reads the same. What stands behind the known fields of a message is skipped:
//! a later release may add fields at the end without a new version. [`Message::Hello`] is written in version 1 for ever,
//! so that nodes of any two releases can tell each other which versions they speak.

use serde::de::DeserializeOwned;

use super::message::{Hint, Message};

/// The lowest version of the protocol that this release speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The highest version of the protocol that this release speaks.
pub const PROTOCOL_MAX: u16 = 1;
/// The version of the envelope that this release writes and reads.
const VERSION: u8 = 1;

/// The longest message on a stream, envelope included, its length left out, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// The longest datagram, in bytes: what a QUIC packet carries on any path.
pub const DATAGRAM_BYTES_MAX: usize = 1100;
/// The most resources that a message names.
pub(super) const RESOURCES_MAX: usize = 64;
/// The longest name of a resource, in bytes.
pub(super) const RESOURCE_NAME_BYTES_MAX: usize = 64;
/// What stands before a datagram's payload.
pub(super) const DATAGRAM_HEAD_BYTES: usize = 2;
/// What stands before a message on the stream.
pub const LENGTH_BYTES: usize = 4;

/// What a datagram carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A frame of the membership protocol.
    Membership(&'a [u8]),
    /// What a node has and needs.
    Hint(Hint),
    /// To a node that joins: the generation under which its name is known here. It takes a higher one.
    Known(u64),
}

/// Bytes that are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than any message.
    #[error("{found} bytes are shorter than any message")]
    TooShort {
        /// How long.
        found: usize,
    },
    /// Longer than any message.
    #[error("{found} bytes are longer than any message: at most {accepted} are accepted")]
    TooLong {
        /// How long.
        found: usize,
        /// How long it may be.
        accepted: usize,
    },
    /// A version that this release doesn't speak.
    #[error("version {found} of the envelope is not known: 1 is accepted")]
    Version {
        /// The version.
        found: u8,
    },
    /// A kind of datagram that this release doesn't know.
    #[error("kind {found} of datagram is not known: 0 (membership), 1 (hint) and 2 (known) are accepted")]
    Kind {
        /// The kind.
        found: u8,
    },
    /// The envelope is well, what is inside isn't.
    #[error("a {what} that can't be read")]
    Malformed {
        /// What it should have been.
        what: &'static str,
    },
    /// It names more resources, or longer names, than any node has.
    #[error(
        "a {what} with too many resources or too long a name: {RESOURCES_MAX} of {RESOURCE_NAME_BYTES_MAX} bytes are \
         accepted"
    )]
    Unbounded {
        /// What it is.
        what: &'static str,
    },
}

impl WireError {
    /// The kind of fault, as a metric's label has it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too short",
            Self::TooLong { .. } => "too long",
            Self::Version { .. } => "unknown version",
            Self::Kind { .. } => "unknown kind",
            Self::Malformed { .. } => "malformed",
            Self::Unbounded { .. } => "unbounded",
        }
    }
}

/// A message as it goes over the stream, its length before it.
///
/// # Errors
/// If it is longer than [`MESSAGE_BYTES_MAX`].
pub fn encode_message(message: &Message) -> Result<Vec<u8>, WireError> {
    let bytes = postcard::to_extend(message, vec![0, 0, 0, 0, VERSION])
        .map_err(|_| WireError::Malformed { what: "message" })?;
    let found = bytes.len().saturating_sub(LENGTH_BYTES);
    let length = u32::try_from(found).ok().filter(|_| found <= MESSAGE_BYTES_MAX);
    let Some(length) = length else { return Err(WireError::TooLong { found, accepted: MESSAGE_BYTES_MAX }) };
    let mut bytes = bytes;
    if let Some(head) = bytes.first_chunk_mut::<LENGTH_BYTES>() {
        *head = length.to_be_bytes();
    }
    Ok(bytes)
}

/// A message of the stream, its length taken off.
///
/// # Errors
/// If the bytes are no message of a version that is spoken.
pub fn decode_message(bytes: &[u8]) -> Result<Message, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { found: bytes.len(), accepted: MESSAGE_BYTES_MAX });
    }
    let body = versioned(bytes)?;
    let message: Message = body_of(body, "message")?;
    if message.is_bounded() { Ok(message) } else { Err(WireError::Unbounded { what: "message" }) }
}

/// The frames of one stream, put together from what arrives.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// No bytes yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// Takes in what arrived. At most [`MESSAGE_BYTES_MAX`] and one read are kept if [`next`](Self::next) is drained after
    /// each.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is there whole.
    ///
    /// # Errors
    /// If a frame is too long, after which the stream can't be followed any more ([`WireError::TooLong`]: close it), or if
    /// it is no message of ours: it is taken off, and the next one may be.
    #[expect(clippy::should_implement_trait, reason = "there is no end to iterate to: more may arrive")]
    pub fn next(&mut self) -> Option<Result<Message, WireError>> {
        let head = self.buffer.first_chunk::<LENGTH_BYTES>()?;
        let found = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if found > MESSAGE_BYTES_MAX {
            self.buffer.clear();
            return Some(Err(WireError::TooLong { found, accepted: MESSAGE_BYTES_MAX }));
        }
        let end = LENGTH_BYTES + found;
        let message = decode_message(self.buffer.get(LENGTH_BYTES..end)?);
        self.buffer.drain(..end);
        Some(message)
    }
}

/// A datagram, ready to send.
///
/// # Errors
/// If it is longer than [`DATAGRAM_BYTES_MAX`].
pub fn encode_datagram(datagram: &Datagram<'_>) -> Result<Vec<u8>, WireError> {
    let bytes = match datagram {
        Datagram::Membership(frame) => [&[VERSION, 0], *frame].concat(),
        Datagram::Hint(hint) => {
            postcard::to_extend(hint, vec![VERSION, 1]).map_err(|_| WireError::Malformed { what: "hint" })?
        }
        Datagram::Known(generation) => {
            postcard::to_extend(generation, vec![VERSION, 2]).map_err(|_| WireError::Malformed { what: "known" })?
        }
    };
    if bytes.len() <= DATAGRAM_BYTES_MAX {
        return Ok(bytes);
    }
    Err(WireError::TooLong { found: bytes.len(), accepted: DATAGRAM_BYTES_MAX })
}

/// What a datagram carries.
///
/// # Errors
/// If the bytes are no datagram of a version and kind that is known.
pub fn decode_datagram(bytes: &[u8]) -> Result<Datagram<'_>, WireError> {
    if bytes.len() > DATAGRAM_BYTES_MAX {
        return Err(WireError::TooLong { found: bytes.len(), accepted: DATAGRAM_BYTES_MAX });
    }
    let Some((kind, body)) = versioned(bytes)?.split_first() else {
        return Err(WireError::TooShort { found: bytes.len() });
    };
    match *kind {
        0 => Ok(Datagram::Membership(body)),
        1 => {
            let hint: Hint = body_of(body, "hint")?;
            if hint.is_bounded() { Ok(Datagram::Hint(hint)) } else { Err(WireError::Unbounded { what: "hint" }) }
        }
        2 => Ok(Datagram::Known(body_of(body, "known")?)),
        found => Err(WireError::Kind { found }),
    }
}

fn versioned(bytes: &[u8]) -> Result<&[u8], WireError> {
    match bytes.split_first() {
        None => Err(WireError::TooShort { found: 0 }),
        Some((&VERSION, rest)) => Ok(rest),
        Some((&found, _)) => Err(WireError::Version { found }),
    }
}

/// Fields behind those that are known are skipped.
fn body_of<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, WireError> {
    postcard::take_from_bytes(body).map(|(message, _)| message).map_err(|_| WireError::Malformed { what })
}

#[cfg(test)]
mod tests;
