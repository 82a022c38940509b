//! Bytes of a journal record. PURE: framing, checksums and files are the shell's (`shell/journal`).
//!
//! Little-endian, fixed fields first, so that encoding is a handful of stores. What must stay true: for every record,
//! `decode(RECORD_VERSION, encode(record)) == record`; and whatever bytes come in, `decode` answers with a record that
//! encodes to the very same bytes, or with an error. A byte more or less than a record needs is an error too.
//!
//! | first byte | record | bytes |
//! |---|---|---|
//! | 1 | `SnapshotBegin` | 1 |
//! | 2 | `Name`: class u8, number u16, then the name | 5 to 132 |
//! | 3 | `ProxyEpoch`: proxy u16, epoch u64, at u64 | 19 |
//! | 4 | `Live`: see `encode_live` | 54 |
//! | 5 | `Lease`: bits u8, key 16, at u64, lease_ends_at u64, lease_s u32, seq u32 | 42 |
//! | 6 | `Ended`: bits u8, key 16, at u64 | 26 |
//! | 7 | `Stamp`: bits u8, at u64, trunk u16, tenant u16 | 14 |
//! | 8 | `Buried`, from version 2 on: bits u8, key 16, ends_at u64, seq u32 | 30 |

use super::record::{LiveRecord, NameClass, RECORD_BYTES_MAX, RECORD_VERSION, Record};
use super::request::NAME_BYTES_MAX;
use crate::units::{CallKey, Tick};

const TAG_SNAPSHOT_BEGIN: u8 = 1;
const TAG_NAME: u8 = 2;
const TAG_PROXY_EPOCH: u8 = 3;
const TAG_LIVE: u8 = 4;
const TAG_LEASE: u8 = 5;
const TAG_ENDED: u8 = 6;
const TAG_STAMP: u8 = 7;
const TAG_BURIED: u8 = 8;

/// The version that brought `Buried`.
const BURIED_SINCE: u16 = 2;

/// Bytes of an encoded `Live` record: with a frame's header, at most one cache line.
pub const LIVE_BYTES: usize = 54;

const NAME_HEAD_BYTES: usize = 4;
const PROXY_EPOCH_BYTES: usize = 19;
const LEASE_BYTES: usize = 42;
const ENDED_BYTES: usize = 26;
const STAMP_BYTES: usize = 14;
const BURIED_BYTES: usize = 30;

const _: () = assert!(NAME_HEAD_BYTES + NAME_BYTES_MAX <= RECORD_BYTES_MAX && LIVE_BYTES <= RECORD_BYTES_MAX);

// Bits that say which optional fields a record has. An absent field's bytes are zero.
const HAS_SEQ: u8 = 1;
const HAS_TRUNK: u8 = 1 << 1;
const HAS_TENANT: u8 = 1 << 2;
const HAS_PROXY: u8 = 1 << 3;
const HAS_LICENSE_TYPE: u8 = 1 << 4;
const IS_SET: u8 = 1 << 5;

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The version of the encoding is not one that this build reads.
    #[error("record version {found} is not known; this build reads 1 to {RECORD_VERSION}")]
    UnknownVersion {
        /// What was found.
        found: u16,
    },
    /// No bytes at all.
    #[error("a record of 0 bytes")]
    Empty,
    /// The first byte names no record.
    #[error("first byte {found} names no record of version {version}; accepted are 1 to {}", tag_last(*version))]
    UnknownTag {
        /// What was found.
        found: u8,
        /// The version of the encoding.
        version: u16,
    },
    /// More or fewer bytes than this record has.
    #[error("a record of tag {tag} has {found} bytes; it needs {expected}")]
    WrongLength {
        /// The record's tag.
        tag: u8,
        /// How many bytes came.
        found: usize,
        /// How many it needs (the least, for a name).
        expected: usize,
    },
    /// A class of names that does not exist.
    #[error("name class {found} is not known; accepted are 1 to 4")]
    UnknownNameClass {
        /// What was found.
        found: u8,
    },
    /// A bit is set that means nothing, or an absent field is not zero.
    #[error("a record of tag {tag} has bits set that mean nothing")]
    StrayBits {
        /// The record's tag.
        tag: u8,
    },
}

/// Writes a record's bytes to the front of `to` and says how many they are. Allocates nothing.
///
/// A name longer than [`NAME_BYTES_MAX`] (which the gate never makes) is cut there.
///
/// ```
/// use callgate::admission::{Record, RECORD_BYTES_MAX, RECORD_VERSION, record_codec};
/// let mut bytes = [0; RECORD_BYTES_MAX];
/// let length = record_codec::encode(&Record::SnapshotBegin, &mut bytes);
/// assert_eq!(record_codec::decode(RECORD_VERSION, &bytes[..length]), Ok(Record::SnapshotBegin));
/// ```
#[inline]
pub fn encode(record: &Record, to: &mut [u8; RECORD_BYTES_MAX]) -> usize {
    match record {
        Record::Live(live) => encode_live(live, to),
        Record::Lease { key, at, lease_ends_at, lease_s, confirmed, seq } => {
            to[0] = TAG_LEASE;
            to[1] = present(*seq, HAS_SEQ) | if *confirmed { IS_SET } else { 0 };
            put_key(to, 2, *key);
            put(to, 18, at.0.to_le_bytes());
            put(to, 26, lease_ends_at.0.to_le_bytes());
            put(to, 34, lease_s.to_le_bytes());
            put(to, 38, seq.unwrap_or(0).to_le_bytes());
            LEASE_BYTES
        }
        Record::Ended { key, at, released } => {
            to[0] = TAG_ENDED;
            to[1] = if *released { IS_SET } else { 0 };
            put_key(to, 2, *key);
            put(to, 18, at.0.to_le_bytes());
            ENDED_BYTES
        }
        Record::Stamp { at, trunk, tenant } => {
            to[0] = TAG_STAMP;
            to[1] = present(*trunk, HAS_TRUNK) | present(*tenant, HAS_TENANT);
            put(to, 2, at.0.to_le_bytes());
            put(to, 10, trunk.unwrap_or(0).to_le_bytes());
            put(to, 12, tenant.unwrap_or(0).to_le_bytes());
            STAMP_BYTES
        }
        Record::Buried { key, ends_at, seq } => {
            to[0] = TAG_BURIED;
            to[1] = present(*seq, HAS_SEQ);
            put_key(to, 2, *key);
            put(to, 18, ends_at.0.to_le_bytes());
            put(to, 26, seq.unwrap_or(0).to_le_bytes());
            BURIED_BYTES
        }
        Record::ProxyEpoch { proxy, epoch, at } => {
            to[0] = TAG_PROXY_EPOCH;
            put(to, 1, proxy.to_le_bytes());
            put(to, 3, epoch.to_le_bytes());
            put(to, 11, at.0.to_le_bytes());
            PROXY_EPOCH_BYTES
        }
        Record::Name { class, number, name } => {
            to[0] = TAG_NAME;
            to[1] = class_code(*class);
            put(to, 2, number.to_le_bytes());
            let length = name.len().min(NAME_BYTES_MAX);
            if let (Some(space), Some(name)) =
                (to.get_mut(NAME_HEAD_BYTES..NAME_HEAD_BYTES + length), name.get(..length))
            {
                space.copy_from_slice(name);
            }
            NAME_HEAD_BYTES + length
        }
        Record::SnapshotBegin => {
            to[0] = TAG_SNAPSHOT_BEGIN;
            1
        }
    }
}

/// tag u8, bits u8, flags u16, units u16, trunk u16, tenant u16, proxy u16, license_type u16, lease_s u32, key 16,
/// admitted_at u64, lease_ends_at u64, seq u32.
#[inline]
fn encode_live(live: &LiveRecord, to: &mut [u8; RECORD_BYTES_MAX]) -> usize {
    to[0] = TAG_LIVE;
    to[1] = present(live.seq, HAS_SEQ)
        | present(live.trunk, HAS_TRUNK)
        | present(live.tenant, HAS_TENANT)
        | present(live.proxy, HAS_PROXY)
        | present(live.license_type, HAS_LICENSE_TYPE);
    put(to, 2, live.flags.to_le_bytes());
    put(to, 4, live.units.to_le_bytes());
    put(to, 6, live.trunk.unwrap_or(0).to_le_bytes());
    put(to, 8, live.tenant.unwrap_or(0).to_le_bytes());
    put(to, 10, live.proxy.unwrap_or(0).to_le_bytes());
    put(to, 12, live.license_type.unwrap_or(0).to_le_bytes());
    put(to, 14, live.lease_s.to_le_bytes());
    put_key(to, 18, live.key);
    put(to, 34, live.admitted_at.0.to_le_bytes());
    put(to, 42, live.lease_ends_at.0.to_le_bytes());
    put(to, 50, live.seq.unwrap_or(0).to_le_bytes());
    LIVE_BYTES
}

/// Reads one record, written by the encoding of this version.
///
/// # Errors
/// If the version is unknown, or the bytes are not exactly one record.
pub fn decode(version: u16, bytes: &[u8]) -> Result<Record, DecodeError> {
    if version == 0 || version > RECORD_VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    let tag = *bytes.first().ok_or(DecodeError::Empty)?;
    match tag {
        TAG_SNAPSHOT_BEGIN => sized::<1>(bytes).map(|_| Record::SnapshotBegin),
        TAG_NAME => decode_name(bytes),
        TAG_PROXY_EPOCH => {
            let from = sized::<PROXY_EPOCH_BYTES>(bytes)?;
            Ok(Record::ProxyEpoch { proxy: u16_at(from, 1), epoch: u64_at(from, 3), at: Tick(u64_at(from, 11)) })
        }
        TAG_LIVE => decode_live(sized::<LIVE_BYTES>(bytes)?),
        TAG_LEASE => {
            let from = sized::<LEASE_BYTES>(bytes)?;
            let bits = Bits::read(from, HAS_SEQ | IS_SET)?;
            Ok(Record::Lease {
                key: key_at(from, 2),
                at: Tick(u64_at(from, 18)),
                lease_ends_at: Tick(u64_at(from, 26)),
                lease_s: u32_at(from, 34),
                confirmed: bits.has(IS_SET),
                seq: bits.optional(HAS_SEQ, u32_at(from, 38))?,
            })
        }
        TAG_ENDED => {
            let from = sized::<ENDED_BYTES>(bytes)?;
            let bits = Bits::read(from, IS_SET)?;
            Ok(Record::Ended { key: key_at(from, 2), at: Tick(u64_at(from, 18)), released: bits.has(IS_SET) })
        }
        TAG_STAMP => {
            let from = sized::<STAMP_BYTES>(bytes)?;
            let bits = Bits::read(from, HAS_TRUNK | HAS_TENANT)?;
            Ok(Record::Stamp {
                at: Tick(u64_at(from, 2)),
                trunk: bits.optional(HAS_TRUNK, u16_at(from, 10))?,
                tenant: bits.optional(HAS_TENANT, u16_at(from, 12))?,
            })
        }
        TAG_BURIED if version >= BURIED_SINCE => {
            let from = sized::<BURIED_BYTES>(bytes)?;
            let bits = Bits::read(from, HAS_SEQ)?;
            Ok(Record::Buried {
                key: key_at(from, 2),
                ends_at: Tick(u64_at(from, 18)),
                seq: bits.optional(HAS_SEQ, u32_at(from, 26))?,
            })
        }
        found => Err(DecodeError::UnknownTag { found, version }),
    }
}

/// The last record that a version knows.
const fn tag_last(version: u16) -> u8 {
    if version >= BURIED_SINCE { TAG_BURIED } else { TAG_STAMP }
}

/// Checks the law of this module on arbitrary bytes: what decodes must encode to the same bytes. For the fuzzer.
///
/// # Panics
/// If the law is broken, which is a bug.
pub fn assert_round_trip(version: u16, bytes: &[u8]) {
    if let Ok(record) = decode(version, bytes) {
        let mut again = [0; RECORD_BYTES_MAX];
        let length = encode(&record, &mut again);
        assert_eq!(again.get(..length), Some(bytes), "decode then encode changed the bytes of {record:?}");
    }
}

fn decode_live(from: &[u8; LIVE_BYTES]) -> Result<Record, DecodeError> {
    let bits = Bits::read(from, HAS_SEQ | HAS_TRUNK | HAS_TENANT | HAS_PROXY | HAS_LICENSE_TYPE)?;
    Ok(Record::Live(LiveRecord {
        key: key_at(from, 18),
        admitted_at: Tick(u64_at(from, 34)),
        lease_ends_at: Tick(u64_at(from, 42)),
        seq: bits.optional(HAS_SEQ, u32_at(from, 50))?,
        lease_s: u32_at(from, 14),
        trunk: bits.optional(HAS_TRUNK, u16_at(from, 6))?,
        tenant: bits.optional(HAS_TENANT, u16_at(from, 8))?,
        proxy: bits.optional(HAS_PROXY, u16_at(from, 10))?,
        license_type: bits.optional(HAS_LICENSE_TYPE, u16_at(from, 12))?,
        units: u16_at(from, 4),
        flags: u16_at(from, 2),
    }))
}

fn decode_name(bytes: &[u8]) -> Result<Record, DecodeError> {
    let wrong = DecodeError::WrongLength { tag: TAG_NAME, found: bytes.len(), expected: NAME_HEAD_BYTES + 1 };
    let (head, name) = bytes.split_first_chunk::<NAME_HEAD_BYTES>().ok_or(wrong)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(wrong);
    }
    let class = match head[1] {
        1 => NameClass::Trunk,
        2 => NameClass::Tenant,
        3 => NameClass::Proxy,
        4 => NameClass::LicenseType,
        found => return Err(DecodeError::UnknownNameClass { found }),
    };
    Ok(Record::Name { class, number: u16_at(head, 2), name: name.into() })
}

const fn class_code(class: NameClass) -> u8 {
    match class {
        NameClass::Trunk => 1,
        NameClass::Tenant => 2,
        NameClass::Proxy => 3,
        NameClass::LicenseType => 4,
    }
}

/// A record's bits, with the tag that they came with.
struct Bits {
    tag: u8,
    bits: u8,
}

impl Bits {
    fn read<const N: usize>(from: &[u8; N], known: u8) -> Result<Self, DecodeError> {
        let [tag, bits] = at(from, 0);
        if bits & !known == 0 { Ok(Self { tag, bits }) } else { Err(DecodeError::StrayBits { tag }) }
    }

    const fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    fn optional<T: Default + PartialEq>(&self, bit: u8, value: T) -> Result<Option<T>, DecodeError> {
        if self.has(bit) {
            Ok(Some(value))
        } else if value == T::default() {
            Ok(None)
        } else {
            Err(DecodeError::StrayBits { tag: self.tag })
        }
    }
}

#[inline]
fn present<T>(value: Option<T>, bit: u8) -> u8 {
    if value.is_some() { bit } else { 0 }
}

/// Offsets are constants below the array's length: the compiler decides the bounds check and leaves one store. (As a
/// `copy_from_slice` it would be a call: ten times the time of the whole record.)
#[inline(always)]
fn put<const N: usize>(to: &mut [u8; RECORD_BYTES_MAX], offset: usize, bytes: [u8; N]) {
    if let Some(place) = to.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

#[inline]
fn put_key(to: &mut [u8; RECORD_BYTES_MAX], offset: usize, key: CallKey) {
    put(to, offset, key.high.to_le_bytes());
    put(to, offset + 8, key.low.to_le_bytes());
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::WrongLength {
        tag: bytes.first().copied().unwrap_or(0),
        found: bytes.len(),
        expected: N,
    })
}

/// As in `put`: constant offsets, one load.
#[inline(always)]
fn at<const N: usize, const K: usize>(from: &[u8; N], offset: usize) -> [u8; K] {
    from.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; K])
}

fn u16_at<const N: usize>(from: &[u8; N], offset: usize) -> u16 {
    u16::from_le_bytes(at(from, offset))
}

fn u32_at<const N: usize>(from: &[u8; N], offset: usize) -> u32 {
    u32::from_le_bytes(at(from, offset))
}

fn u64_at<const N: usize>(from: &[u8; N], offset: usize) -> u64 {
    u64::from_le_bytes(at(from, offset))
}

fn key_at<const N: usize>(from: &[u8; N], offset: usize) -> CallKey {
    CallKey { high: u64_at(from, offset), low: u64_at(from, offset + 8) }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = CallKey> {
        (any::<u64>(), any::<u64>()).prop_map(|(high, low)| CallKey { high, low })
    }

    fn live() -> impl Strategy<Value = LiveRecord> {
        (
            (key(), any::<u64>(), any::<u64>(), any::<Option<u32>>(), any::<u32>()),
            (any::<Option<u16>>(), any::<Option<u16>>(), any::<Option<u16>>(), any::<Option<u16>>()),
            (any::<u16>(), any::<u16>()),
        )
            .prop_map(|(times, names, rest)| LiveRecord {
                key: times.0,
                admitted_at: Tick(times.1),
                lease_ends_at: Tick(times.2),
                seq: times.3,
                lease_s: times.4,
                trunk: names.0,
                tenant: names.1,
                proxy: names.2,
                license_type: names.3,
                units: rest.0,
                flags: rest.1,
            })
    }

    /// Any record that the gate could write.
    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        let class = prop_oneof![
            Just(NameClass::Trunk),
            Just(NameClass::Tenant),
            Just(NameClass::Proxy),
            Just(NameClass::LicenseType)
        ];
        prop_oneof![
            Just(Record::SnapshotBegin),
            (class, any::<u16>(), prop::collection::vec(any::<u8>(), 1..=NAME_BYTES_MAX))
                .prop_map(|(class, number, name)| Record::Name { class, number, name: name.into() }),
            (any::<u16>(), any::<u64>(), any::<u64>()).prop_map(|(proxy, epoch, at)| Record::ProxyEpoch {
                proxy,
                epoch,
                at: Tick(at)
            }),
            live().prop_map(Record::Live),
            (key(), any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>(), any::<Option<u32>>()).prop_map(
                |(key, at, ends, lease_s, confirmed, seq)| Record::Lease {
                    key,
                    at: Tick(at),
                    lease_ends_at: Tick(ends),
                    lease_s,
                    confirmed,
                    seq
                }
            ),
            (key(), any::<u64>(), any::<bool>()).prop_map(|(key, at, released)| Record::Ended {
                key,
                at: Tick(at),
                released
            }),
            (any::<u64>(), any::<Option<u16>>(), any::<Option<u16>>()).prop_map(|(at, trunk, tenant)| Record::Stamp {
                at: Tick(at),
                trunk,
                tenant
            }),
            (key(), any::<u64>(), any::<Option<u32>>()).prop_map(|(key, ends, seq)| Record::Buried {
                key,
                ends_at: Tick(ends),
                seq
            }),
        ]
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = [0xAA; RECORD_BYTES_MAX];
        let length = encode(record, &mut bytes);
        bytes[..length].to_vec()
    }

    proptest! {
        #[test]
        fn every_record_comes_back_as_it_was(record in any_record()) {
            prop_assert_eq!(decode(RECORD_VERSION, &encoded(&record)), Ok(record));
        }

        #[test]
        fn no_prefix_and_no_longer_form_of_a_record_is_the_same_record(record in any_record(), cut in 0_usize..RECORD_BYTES_MAX) {
            let mut bytes = encoded(&record);
            let cut = cut.min(bytes.len() - 1);
            prop_assert_ne!(decode(RECORD_VERSION, &bytes[..cut]), Ok(record.clone()));
            bytes.push(0);
            prop_assert_ne!(decode(RECORD_VERSION, &bytes), Ok(record));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..RECORD_BYTES_MAX), tag in 0_u8..10, version in 1..=RECORD_VERSION) {
            assert_round_trip(version, &bytes);
            let mut tagged = bytes;
            if let Some(first) = tagged.first_mut() { *first = tag; }
            for length in [1, LIVE_BYTES, LEASE_BYTES, ENDED_BYTES, STAMP_BYTES, BURIED_BYTES, PROXY_EPOCH_BYTES] {
                tagged.resize(length, 0);
                assert_round_trip(version, &tagged);
            }
        }

        #[test]
        fn a_changed_byte_never_goes_unnoticed(record in any_record(), at in 0_usize..RECORD_BYTES_MAX, flip in 1_u8..=255) {
            let mut bytes = encoded(&record);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_ne!(decode(RECORD_VERSION, &bytes), Ok(record));
        }
    }

    #[test]
    fn versions_that_do_not_exist_yet_are_refused_by_number() {
        for found in [0, RECORD_VERSION + 1, u16::MAX] {
            assert_eq!(decode(found, &[TAG_SNAPSHOT_BEGIN]), Err(DecodeError::UnknownVersion { found }));
        }
    }

    #[test]
    fn a_version_knows_no_record_that_came_after_it() {
        let buried = encoded(&Record::Buried { key: CallKey { high: 1, low: 2 }, ends_at: Tick(3), seq: None });
        let refused = decode(1, &buried).unwrap_err();
        assert_eq!(refused.to_string(), "first byte 8 names no record of version 1; accepted are 1 to 7");
        assert_eq!(decode(2, &buried).map(|record| encoded(&record)), Ok(buried));
    }

    #[test]
    fn a_live_record_and_its_frame_fit_in_one_cache_line() {
        assert!(encoded(&Record::Live(LiveRecord::default())).len() + 6 <= 64);
    }

    #[test]
    fn errors_name_what_was_found_and_what_is_accepted() {
        let told = |bytes: &[u8]| decode(RECORD_VERSION, bytes).unwrap_err().to_string();
        assert_eq!(told(&[]), "a record of 0 bytes");
        assert_eq!(told(&[99]), "first byte 99 names no record of version 2; accepted are 1 to 8");
        assert_eq!(told(&[TAG_LIVE, 0]), "a record of tag 4 has 2 bytes; it needs 54");
        assert_eq!(told(&[TAG_NAME, 9, 0, 0, b'a']), "name class 9 is not known; accepted are 1 to 4");
        assert_eq!(told(&[TAG_NAME, 1, 0, 0]), "a record of tag 2 has 4 bytes; it needs 5");
    }
}
