//! What the journal keeps: absolute records, so that replaying one twice changes nothing.
//!
//! The encoding is pure: bytes in, bytes out. Framing, checksums and files are the shell's (`shell/journal`).

use crate::units::{CallKey, Tick};

/// Version of the record encoding. A newer sidecar reads older versions; an older one refuses newer ones.
///
/// | version | what is new |
/// |---|---|
/// | 2 | [`Record::Buried`] |
pub const RECORD_VERSION: u16 = 2;

/// The longest encoded record, in bytes.
pub const RECORD_BYTES_MAX: usize = 160;

/// A class of names that records refer to by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NameClass {
    /// A trunk.
    Trunk = 1,
    /// A tenant.
    Tenant = 2,
    /// A proxy.
    Proxy = 3,
    /// A session-license type.
    LicenseType = 4,
}

/// A live call, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveRecord {
    /// Its key.
    pub key: CallKey,
    /// When it was admitted.
    pub admitted_at: Tick,
    /// When its lease ends.
    pub lease_ends_at: Tick,
    /// The attempt's number.
    pub seq: Option<u32>,
    /// Its lease length in seconds (of the phase it is in).
    pub lease_s: u32,
    /// Number of its trunk's name.
    pub trunk: Option<u16>,
    /// Number of its tenant's name.
    pub tenant: Option<u16>,
    /// Number of its proxy's name.
    pub proxy: Option<u16>,
    /// Number of its license type's name.
    pub license_type: Option<u16>,
    /// Units of it.
    pub units: u16,
    /// The `FLAG_` bits of this module.
    pub flags: u16,
}

/// [`LiveRecord::flags`]: it is a registration.
pub const FLAG_REGISTRATION: u16 = 1;
/// [`LiveRecord::flags`]: it was confirmed.
pub const FLAG_CONFIRMED: u16 = 1 << 1;
/// [`LiveRecord::flags`]: an emergency call.
pub const FLAG_EMERGENCY: u16 = 1 << 2;
/// [`LiveRecord::flags`]: admitted past a limit.
pub const FLAG_FORCED: u16 = 1 << 3;
/// [`LiveRecord::flags`]: a WebRTC session.
pub const FLAG_WEBRTC: u16 = 1 << 4;
/// [`LiveRecord::flags`]: counts under export control.
pub const FLAG_EXPORT_COUNTED: u16 = 1 << 5;
/// [`LiveRecord::flags`]: took a calls-per-second license at `admitted_at` (a snapshot of an old call clears it).
pub const FLAG_RATE_TAKEN: u16 = 1 << 6;
/// [`LiveRecord::flags`]: admitted in shadow mode although a limit refused it.
pub const FLAG_SHADOW: u16 = 1 << 7;
/// [`LiveRecord::flags`]: it is encrypted.
pub const FLAG_ENCRYPTED: u16 = 1 << 8;
/// [`LiveRecord::flags`]: part of a snapshot, or written again: it was heard of after `admitted_at`, in the proxy's epoch of then.
pub const FLAG_HEARD: u16 = 1 << 10;
/// [`LiveRecord::flags`]: its proxy has restarted since it was last heard of.
pub const FLAG_SUSPECT: u16 = 1 << 9;

/// One journal record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The snapshot begins: forget every live call and tombstone read so far (names and rate stamps stay).
    SnapshotBegin,
    /// A name, by the number that later records use.
    Name {
        /// Of what.
        class: NameClass,
        /// Its number.
        number: u16,
        /// The name, 1 to [`NAME_BYTES_MAX`](super::request::NAME_BYTES_MAX) bytes.
        name: Box<[u8]>,
    },
    /// A proxy lives in this epoch.
    ProxyEpoch {
        /// Number of its name.
        proxy: u16,
        /// The epoch that it said.
        epoch: u64,
        /// When.
        at: Tick,
    },
    /// A call was admitted, adopted, or is part of a snapshot.
    Live(LiveRecord),
    /// A live call was confirmed or refreshed, or its attempt's number rose.
    Lease {
        /// The call.
        key: CallKey,
        /// When.
        at: Tick,
        /// The new end of its lease.
        lease_ends_at: Tick,
        /// The new length of its lease in seconds.
        lease_s: u32,
        /// It is confirmed.
        confirmed: bool,
        /// The attempt's number.
        seq: Option<u32>,
    },
    /// A call is no longer live.
    Ended {
        /// The call.
        key: CallKey,
        /// When.
        at: Tick,
        /// Its proxy released it: a *released* marker is due for 32 s.
        released: bool,
    },
    /// A calls-per-second license was taken without a new live call.
    Stamp {
        /// When.
        at: Tick,
        /// At this trunk too.
        trunk: Option<u16>,
        /// At this tenant too.
        tenant: Option<u16>,
    },
    /// A release came before its call, or that of a later attempt did: a tombstone stands.
    Buried {
        /// The call.
        key: CallKey,
        /// When the tombstone goes.
        ends_at: Tick,
        /// The attempt's number.
        seq: Option<u32>,
    },
}

/// Takes the records of one shard, in order. Called on the fast path: no system call, no lock, no waiting.
pub trait Journal: Send {
    /// Appends one record. What cannot be kept is counted by the journal itself, never told to the caller of a proxy.
    fn append(&mut self, record: &Record);
}

/// Keeps nothing: for a gate used as a library, and for benches.
impl Journal for () {
    fn append(&mut self, _record: &Record) {}
}
