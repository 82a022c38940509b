//! Headers and frames: the bytes of a journal file. Pure; the layout is described in the module above.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::admission::{RECORD_BYTES_MAX, RECORD_VERSION, Record, record_codec};

const MAGIC: [u8; 6] = *b"CGJRNL";

/// Version of headers and frames.
pub(super) const FORMAT_VERSION: u16 = 1;

/// The header is there twice.
const HEADER_COPY_BYTES: usize = 128;

/// Where the frames begin.
pub(super) const HEADER_BYTES: usize = 2 * HEADER_COPY_BYTES;

/// Of a header copy: its first part (magic, both versions) and its last 8 bytes (checksum of all before) stay where they
/// are in every later version, so that an older build can tell a newer file from a damaged one.
const CHECKSUM_AT: usize = HEADER_COPY_BYTES - 8;

/// Checksum u32 and length u16.
pub(super) const FRAME_HEAD_BYTES: usize = 6;

/// A frame begins at a multiple of this.
pub(super) const FRAME_ALIGN: usize = 8;

/// The most that a frame can need.
pub(super) const FRAME_BYTES_MAX: usize = (FRAME_HEAD_BYTES + RECORD_BYTES_MAX).next_multiple_of(FRAME_ALIGN);

/// First byte of a frame of the journal's own: where in a shard's log a snapshot begins.
const OWN_TAG_START: u8 = 0xF0;
/// First byte of a frame of the journal's own: the snapshot is complete.
const OWN_TAG_END: u8 = 0xF1;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Segment,
    Snapshot,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) record_version: u16,
    pub(super) kind: FileKind,
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) generation: u64,
    pub(super) sequence: u64,
    /// Random: seeds the checksums.
    pub(super) id: u64,
    /// Of the boot in which the ticks of this file count.
    pub(super) boot_id: [u8; 16],
    /// The boot clock at creation, in nanoseconds.
    pub(super) boottime: u64,
    /// The wall clock at creation, in nanoseconds since the Unix epoch.
    pub(super) realtime: u64,
    /// Bytes of the whole file as it was made; 0 if not known in advance.
    pub(super) length: u64,
}

/// Why a file has no header that this build can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Zeros alone: the file was made and never used, or never reached the disk.
    Blank,
    /// Both copies are damaged, or it is no journal file.
    Damaged,
    /// A later version wrote it.
    Newer { format: u16, record: u16 },
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut copy = Vec::with_capacity(HEADER_COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        let kind: u16 = match self.kind {
            FileKind::Segment => 1,
            FileKind::Snapshot => 2,
        };
        for word in [FORMAT_VERSION, self.record_version, kind, self.shard, self.shards] {
            copy.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.generation, self.sequence, self.id] {
            copy.extend_from_slice(&word.to_le_bytes());
        }
        copy.extend_from_slice(&self.boot_id);
        for word in [self.boottime, self.realtime, self.length] {
            copy.extend_from_slice(&word.to_le_bytes());
        }
        copy.resize(CHECKSUM_AT, 0);
        copy.extend_from_slice(&xxh3_64(&copy).to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        for half in bytes.chunks_exact_mut(HEADER_COPY_BYTES) {
            half.copy_from_slice(&copy);
        }
        bytes
    }

    /// The header at the front of a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (first, rest) = bytes.split_at(bytes.len().min(HEADER_COPY_BYTES));
        match Self::parse_copy(first) {
            Err(HeaderError::Damaged) => match Self::parse_copy(rest.get(..HEADER_COPY_BYTES).unwrap_or_default()) {
                Err(HeaderError::Damaged) if bytes.iter().all(|byte| *byte == 0) => Err(HeaderError::Blank),
                second => second,
            },
            first => first,
        }
    }

    fn parse_copy(copy: &[u8]) -> Result<Self, HeaderError> {
        let copy: &[u8; HEADER_COPY_BYTES] = copy.try_into().map_err(|_| HeaderError::Damaged)?;
        let (content, checksum) = copy.split_at(CHECKSUM_AT);
        if xxh3_64(content).to_le_bytes() != checksum {
            return Err(HeaderError::Damaged);
        }
        let mut fields = content.strip_prefix(&MAGIC).map(Fields).ok_or(HeaderError::Damaged)?;
        let (format, record_version) = (fields.u16()?, fields.u16()?);
        if format > FORMAT_VERSION || record_version > RECORD_VERSION {
            return Err(HeaderError::Newer { format, record: record_version });
        }
        let kind = match fields.u16()? {
            1 => FileKind::Segment,
            2 => FileKind::Snapshot,
            _ => return Err(HeaderError::Damaged),
        };
        Ok(Self {
            record_version,
            kind,
            shard: fields.u16()?,
            shards: fields.u16()?,
            generation: fields.u64()?,
            sequence: fields.u64()?,
            id: fields.u64()?,
            boot_id: fields.take()?,
            boottime: fields.u64()?,
            realtime: fields.u64()?,
            length: fields.u64()?,
        })
    }
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(HeaderError::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, HeaderError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, HeaderError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// A frame's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Record(Record),
    /// The snapshot that this frame is in begins in this shard's log with this segment.
    Start {
        shard: u16,
        sequence: u64,
    },
    /// The snapshot is complete.
    End {
        records: u64,
    },
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A frame that passes its checksum, and its length with padding.
    Good(&'a [u8], usize),
    /// Zeros where a frame's head would be: the end of the log, unless something comes behind it.
    Zeros,
    /// Neither.
    Bad,
}

/// Seeds a frame's checksum: the same bytes at another offset, or in another file, do not pass.
fn seed(id: u64, offset: u64) -> u64 {
    id.wrapping_add(offset.rotate_left(32))
}

fn checksum(id: u64, offset: u64, length_and_content: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = xxh3_64_with_seed(length_and_content, seed(id, offset)).to_le_bytes();
    [a, b, c, d]
}

/// Writes a record's frame to the front of `space`, which lies at `offset` of the file. Returns its length with padding,
/// or `None` if the space might not do (it needs [`FRAME_BYTES_MAX`], whatever the record).
#[inline]
pub(super) fn write_record(space: &mut [u8], id: u64, offset: u64, record: &Record) -> Option<usize> {
    let space: &mut [u8; FRAME_BYTES_MAX] = space.first_chunk_mut()?;
    let content: &mut [u8; RECORD_BYTES_MAX] = space.get_mut(FRAME_HEAD_BYTES..)?.first_chunk_mut()?;
    let length = record_codec::encode(record, content);
    seal(space, id, offset, length)
}

/// Writes a frame of the journal's own.
pub(super) fn write_own(space: &mut [u8], id: u64, offset: u64, content: &Content) -> Option<usize> {
    let space: &mut [u8; FRAME_BYTES_MAX] = space.first_chunk_mut()?;
    let bytes: Vec<u8> = match content {
        Content::Record(record) => return write_record(space, id, offset, record),
        Content::Start { shard, sequence } => {
            [&[OWN_TAG_START][..], &shard.to_le_bytes(), &sequence.to_le_bytes()].concat()
        }
        Content::End { records } => [&[OWN_TAG_END][..], &records.to_le_bytes()].concat(),
    };
    space.get_mut(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + bytes.len())?.copy_from_slice(&bytes);
    seal(space, id, offset, bytes.len())
}

/// The head comes last: what a kill leaves half done ahead of it has no valid checksum.
#[inline]
fn seal(space: &mut [u8; FRAME_BYTES_MAX], id: u64, offset: u64, length: usize) -> Option<usize> {
    *space.get_mut(4..)?.first_chunk_mut()? = u16::try_from(length).ok()?.to_le_bytes();
    let sum = checksum(id, offset, space.get(4..FRAME_HEAD_BYTES + length)?);
    *space.first_chunk_mut()? = sum;
    Some((FRAME_HEAD_BYTES + length).next_multiple_of(FRAME_ALIGN))
}

/// What stands at the front of `bytes`, which lie at `offset` of the file. Give it [`FRAME_BYTES_MAX`] bytes, or all that
/// there are.
pub(super) fn read_frame(bytes: &[u8], id: u64, offset: u64) -> Frame<'_> {
    let Some((head, _)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else {
        return if bytes.iter().all(|byte| *byte == 0) { Frame::Zeros } else { Frame::Bad };
    };
    if *head == [0; FRAME_HEAD_BYTES] {
        return Frame::Zeros;
    }
    let [sum @ .., low, high] = *head;
    let length = usize::from(u16::from_le_bytes([low, high]));
    if length == 0 || length > RECORD_BYTES_MAX {
        return Frame::Bad;
    }
    match (bytes.get(4..FRAME_HEAD_BYTES + length), bytes.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + length)) {
        (Some(summed), Some(content)) if checksum(id, offset, summed) == sum => {
            Frame::Good(content, (FRAME_HEAD_BYTES + length).next_multiple_of(FRAME_ALIGN))
        }
        _ => Frame::Bad,
    }
}

/// The content of a good frame; `None` if it is none that this version writes.
pub(super) fn decode(record_version: u16, content: &[u8]) -> Option<Content> {
    match *content {
        [OWN_TAG_START, a, b, ref sequence @ ..] => Some(Content::Start {
            shard: u16::from_le_bytes([a, b]),
            sequence: u64::from_le_bytes(sequence.try_into().ok()?),
        }),
        [OWN_TAG_END, ref records @ ..] => Some(Content::End { records: u64::from_le_bytes(records.try_into().ok()?) }),
        _ => record_codec::decode(record_version, content).ok().map(Content::Record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::LiveRecord;

    fn header() -> Header {
        Header {
            record_version: RECORD_VERSION,
            kind: FileKind::Segment,
            shard: 3,
            shards: 4,
            generation: 5,
            sequence: 6,
            id: 7,
            boot_id: [8; 16],
            boottime: 9,
            realtime: 10,
            length: 11,
        }
    }

    fn live() -> Record {
        Record::Live(LiveRecord { seq: Some(7), ..LiveRecord::default() })
    }

    #[test]
    fn a_header_survives_any_one_damaged_byte() {
        let good = header().bytes();
        assert_eq!(Header::parse(&good), Ok(header()));
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert_eq!(Header::parse(&bad), Ok(header()), "byte {at}");
        }
        for cut in 0..HEADER_COPY_BYTES {
            assert_eq!(Header::parse(&good[..cut]).ok(), None, "cut at {cut}");
        }
        assert_eq!(Header::parse(&[0; HEADER_BYTES]), Err(HeaderError::Blank));
        assert_eq!(Header::parse(&[1; HEADER_BYTES]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        for (at, format, record) in [(6, FORMAT_VERSION + 1, RECORD_VERSION), (8, FORMAT_VERSION, RECORD_VERSION + 1)] {
            let mut bytes = header().bytes();
            bytes[at] += 1;
            assert_eq!(Header::parse(&bytes), Ok(header()), "one damaged copy");
            let sum = xxh3_64(&bytes[..CHECKSUM_AT]).to_le_bytes();
            bytes[CHECKSUM_AT..HEADER_COPY_BYTES].copy_from_slice(&sum);
            assert_eq!(Header::parse(&bytes), Err(HeaderError::Newer { format, record }));
        }
    }

    #[test]
    fn a_frame_passes_in_its_own_file_at_its_own_offset_only() {
        let mut space = [0; 2 * FRAME_BYTES_MAX];
        let length = write_record(&mut space, 42, 512, &live()).unwrap();
        assert_eq!(length, 64, "an admission fills one cache line");
        let Frame::Good(content, 64) = read_frame(&space, 42, 512) else { panic!("it passes") };
        assert_eq!(decode(RECORD_VERSION, content), Some(Content::Record(live())));
        assert_eq!(read_frame(&space, 43, 512), Frame::Bad);
        assert_eq!(read_frame(&space, 42, 520), Frame::Bad);
    }

    #[test]
    fn a_frame_with_any_bit_flipped_or_cut_short_does_not_pass() {
        let mut space = [0; FRAME_BYTES_MAX];
        write_record(&mut space, 1, 256, &live()).unwrap();
        let used = FRAME_HEAD_BYTES + record_codec::LIVE_BYTES;
        for bit in 0..used * 8 {
            let mut bad = space;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read_frame(&bad, 1, 256), Frame::Good(..)), "bit {bit}");
        }
        for cut in 0..used {
            assert!(!matches!(read_frame(&space[..cut], 1, 256), Frame::Good(..)), "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_is_never_begun_where_the_longest_would_not_fit() {
        let mut space = [0; FRAME_BYTES_MAX - 1];
        assert_eq!(write_record(&mut space, 1, 0, &Record::SnapshotBegin), None);
        assert_eq!(space, [0; FRAME_BYTES_MAX - 1]);
    }

    #[test]
    fn the_journals_own_frames_come_back_as_they_were() {
        for content in [Content::Start { shard: 9, sequence: u64::MAX }, Content::End { records: 12 }] {
            let mut space = [0; FRAME_BYTES_MAX];
            write_own(&mut space, 5, 8, &content).unwrap();
            let Frame::Good(bytes, _) = read_frame(&space, 5, 8) else { panic!("it passes") };
            assert_eq!(decode(RECORD_VERSION, bytes), Some(content));
        }
    }
}
