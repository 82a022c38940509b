//! Reads the requests of one datagram. Allocates nothing; every length is checked before anything is cut by it.

use super::{ANSWER_BIT, ANSWER_BYTES, HEAD_BYTES, MAGIC, REQUEST_BYTES_MAX, REQUESTS_MAX, VERSION, flag};
use crate::admission::{Admit, CallId, ID_BYTES_MAX, Kind, NAME_BYTES_MAX, Name, Request, UNITS_MAX};
use crate::units::UnixMillis;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// May this call start?
    Admit,
    /// It was answered.
    Confirm,
    /// It ended.
    Release,
    /// It still lives.
    Refresh,
    /// A proxy tells its epoch.
    Proxy,
    /// The password, for the rest of the datagram.
    Auth,
    /// Is anybody there?
    Ping,
}

impl Verb {
    /// All of them, in the order of their numbers, which begin with 1.
    pub const ALL: [Self; 7] =
        [Self::Admit, Self::Confirm, Self::Release, Self::Refresh, Self::Proxy, Self::Auth, Self::Ping];

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Admit => 1,
            Self::Confirm => 2,
            Self::Release => 3,
            Self::Refresh => 4,
            Self::Proxy => 5,
            Self::Auth => 6,
            Self::Ping => 7,
        }
    }

    /// The verb of this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.code() == code)
    }

    /// The flags that it may have.
    const fn flags(self) -> u16 {
        match self {
            Self::Admit => flag::ALL,
            Self::Confirm => flag::SEQ | flag::TTL,
            Self::Release => flag::SEQ,
            Self::Refresh | Self::Proxy | Self::Auth | Self::Ping => 0,
        }
    }
}

/// What one request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The gate decides, in a batch with its neighbors.
    Decide(Request<'a>),
    /// A proxy lives in this epoch.
    Proxy {
        /// The proxy.
        name: Name<'a>,
        /// Its epoch.
        epoch: u64,
    },
    /// The password: 1 to [`ID_BYTES_MAX`] bytes, as an id.
    Auth(CallId<'a>),
    /// Is anybody there?
    Ping,
}

impl Message<'_> {
    /// Its verb.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Decide(Request::Admit(_)) => Verb::Admit,
            Self::Decide(Request::Confirm { .. }) => Verb::Confirm,
            Self::Decide(Request::Release { .. }) => Verb::Release,
            Self::Decide(Request::Refresh { .. }) => Verb::Refresh,
            Self::Proxy { .. } => Verb::Proxy,
            Self::Auth(_) => Verb::Auth,
            Self::Ping => Verb::Ping,
        }
    }
}

/// One request that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read<'a> {
    /// To be echoed.
    pub request_id: u64,
    /// What it says.
    pub message: Message<'a>,
}

/// Why a request can't be understood, by number. Part of the interface: numbers stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// An unknown version.
    Version,
    /// An unknown verb.
    Verb,
    /// A length that does not fit the datagram, or not the lengths in the head.
    Length,
    /// Flags that this verb has not.
    Flags,
    /// An unknown kind.
    Kind,
    /// An id (or password) that is empty or too long.
    Id,
    /// A name that is too long, or missing.
    Name,
    /// Units out of bounds.
    Units,
    /// A field that this verb has not, or whose flag is not set, is not zero.
    Field,
    /// A password is needed, or this one is wrong.
    Auth,
    /// More requests than a datagram may hold.
    Count,
    /// Too many proxies are known.
    Proxies,
}

impl ErrorCode {
    /// All of them, in the order of their numbers, which begin with 1.
    pub const ALL: [Self; 12] = [
        Self::Version,
        Self::Verb,
        Self::Length,
        Self::Flags,
        Self::Kind,
        Self::Id,
        Self::Name,
        Self::Units,
        Self::Field,
        Self::Auth,
        Self::Count,
        Self::Proxies,
    ];

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Verb => 2,
            Self::Length => 3,
            Self::Flags => 4,
            Self::Kind => 5,
            Self::Id => 6,
            Self::Name => 7,
            Self::Units => 8,
            Self::Field => 9,
            Self::Auth => 10,
            Self::Count => 11,
            Self::Proxies => 12,
        }
    }

    /// The error of this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.code() == code)
    }
}

/// An error, and what is accepted in its place: from, to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub error: ErrorCode,
    /// The least and the most that is accepted; of flags, none and all that the verb has.
    pub accepted: (u16, u16),
}

/// Why something is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// Shorter than an answer: it would grow.
    Short,
    /// It does not begin with [`MAGIC`].
    Magic,
    /// It is an answer; answering it could go on for ever.
    Answer,
}

/// What can't be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is told what is wrong.
    Answer {
        /// To be echoed.
        request_id: u64,
        /// The verb as it was sent.
        verb: u8,
        /// What is wrong.
        fault: Fault,
    },
    /// It is dropped, and what stands behind it too.
    Drop(Stray),
}

/// The requests of one datagram, in order.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    seen: usize,
}

impl<'a> Messages<'a> {
    /// The requests in these bytes.
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram, seen: 0 }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Read<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.seen > 0 {
            return None;
        }
        // Whatever ends the reading leaves no rest.
        let input = std::mem::take(&mut self.rest);
        self.seen += 1;
        let Some(common) = input.first_chunk::<ANSWER_BYTES>() else {
            return Some(Err(Bad::Drop(Stray::Short)));
        };
        if common[0] != MAGIC {
            return Some(Err(Bad::Drop(Stray::Magic)));
        }
        let verb = common[2];
        if verb & ANSWER_BIT != 0 {
            return Some(Err(Bad::Drop(Stray::Answer)));
        }
        let request_id = u64_at(common, 8);
        let bad = |error, accepted| Err(Bad::Answer { request_id, verb, fault: Fault { error, accepted } });
        if self.seen > REQUESTS_MAX {
            return Some(bad(ErrorCode::Count, (1, bound(REQUESTS_MAX))));
        }
        let lengths = (bound(HEAD_BYTES), bound(REQUEST_BYTES_MAX));
        let length = usize::from(u16_at(common, 4));
        let whole = input.split_at_checked(length).filter(|(this, _)| this.len() >= HEAD_BYTES);
        let Some((this, behind)) = whole else { return Some(bad(ErrorCode::Length, lengths)) };
        self.rest = behind;
        if common[1] != VERSION {
            return Some(bad(ErrorCode::Version, (u16::from(VERSION), u16::from(VERSION))));
        }
        let Some(known) = Verb::from_code(verb) else {
            return Some(bad(ErrorCode::Verb, (u16::from(Verb::Admit.code()), u16::from(Verb::Ping.code()))));
        };
        match message(known, this) {
            Ok(message) => Some(Ok(Read { request_id, message })),
            Err(fault) => Some(Err(Bad::Answer { request_id, verb, fault })),
        }
    }
}

/// Zero past the end, which no caller reaches.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn bound(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

const fn fault(error: ErrorCode, from: u16, to: u16) -> Fault {
    Fault { error, accepted: (from, to) }
}

/// The variable part of a request, cut field by field.
struct Tail<'a>(&'a [u8]);

impl<'a> Tail<'a> {
    fn cut(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let Some((field, rest)) = self.0.split_at_checked(length) else { return Err(bad_length()) };
        self.0 = rest;
        Ok(field)
    }

    fn name(&mut self, length: u8) -> Result<Option<Name<'a>>, Fault> {
        let bytes = self.cut(usize::from(length))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Name::new(bytes).map(Some).map_err(|_| fault(ErrorCode::Name, 1, bound(NAME_BYTES_MAX)))
    }
}

fn bad_length() -> Fault {
    fault(ErrorCode::Length, bound(HEAD_BYTES), bound(REQUEST_BYTES_MAX))
}

const fn field() -> Fault {
    fault(ErrorCode::Field, 0, 0)
}

/// The meaning of one request of this version.
fn message(verb: Verb, this: &[u8]) -> Result<Message<'_>, Fault> {
    let Some((head, tail)) = this.split_first_chunk::<HEAD_BYTES>() else { return Err(bad_length()) };
    let flags = u16_at(head, 6);
    if flags & !verb.flags() != 0 {
        return Err(fault(ErrorCode::Flags, 0, verb.flags()));
    }
    let has = |bit| flags & bit != 0;
    let said = |bit, at: usize| -> Result<Option<u32>, Fault> {
        let value = u32_at(head, at);
        if has(bit) {
            return Ok(Some(value));
        }
        if value == 0 { Ok(None) } else { Err(field()) }
    };
    let seq = said(flag::SEQ, 16)?;
    let ttl_s = said(flag::TTL, 20)?;
    let long = u64_at(head, 24);
    let units = u16_at(head, 32);
    let id_bytes = usize::from(u16_at(head, 34));
    let [.., trunk, tenant, license_type, proxy] = *head;
    // What a verb has not is zero.
    let admits = matches!(verb, Verb::Admit);
    let names_zero = trunk == 0 && tenant == 0 && license_type == 0;
    if !admits && (head[3] != 0 || units != 0 || !names_zero || (proxy != 0 && verb != Verb::Proxy)) {
        return Err(field());
    }
    if long != 0 && !has(flag::DEADLINE) && verb != Verb::Proxy {
        return Err(field());
    }
    let has_id = !matches!(verb, Verb::Proxy | Verb::Ping);
    if !has_id && id_bytes != 0 {
        return Err(field());
    }
    if has_id && !(1..=ID_BYTES_MAX).contains(&id_bytes) {
        return Err(fault(ErrorCode::Id, 1, bound(ID_BYTES_MAX)));
    }
    let mut tail = Tail(tail);
    let id = CallId::new(tail.cut(id_bytes)?).map_err(|_| fault(ErrorCode::Id, 1, bound(ID_BYTES_MAX)));
    let (trunk, tenant) = (tail.name(trunk)?, tail.name(tenant)?);
    let (license_type, proxy) = (tail.name(license_type)?, tail.name(proxy)?);
    if !tail.0.is_empty() {
        return Err(bad_length());
    }
    Ok(match verb {
        Verb::Admit => {
            let kind = match head[3] {
                0 => Kind::Call,
                1 => Kind::Registration,
                _ => return Err(fault(ErrorCode::Kind, 0, 1)),
            };
            if !(1..=UNITS_MAX).contains(&units) {
                return Err(fault(ErrorCode::Units, 1, UNITS_MAX));
            }
            Message::Decide(Request::Admit(Admit {
                id: id?,
                seq,
                trunk,
                tenant,
                kind,
                webrtc: has(flag::WEBRTC),
                license_type,
                units,
                emergency: has(flag::EMERGENCY),
                priority: has(flag::PRIORITY),
                ttl_s,
                encrypted: has(flag::ENCRYPTED),
                proxy,
                deadline: has(flag::DEADLINE).then_some(UnixMillis(long)),
            }))
        }
        Verb::Confirm => Message::Decide(Request::Confirm { id: id?, seq, ttl_s }),
        Verb::Release => Message::Decide(Request::Release { id: id?, seq }),
        Verb::Refresh => Message::Decide(Request::Refresh { id: id? }),
        Verb::Proxy => {
            let name = proxy.ok_or(fault(ErrorCode::Name, 1, bound(NAME_BYTES_MAX)))?;
            Message::Proxy { name, epoch: long }
        }
        Verb::Auth => Message::Auth(id?),
        Verb::Ping => Message::Ping,
    })
}
