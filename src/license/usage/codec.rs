//! Use as bytes, for the store: versioned, bounded, with a checksum.
//!
//! `CGU1`, version (u8 = 1), number of tags (u16); for each its name (u8 length, bytes), its open peak (u8 flag, u32 peak,
//! u32 second), the number of samples (u32), each of ten bytes (u32 end, u16 before, u32 peak); the daily count (u8 flag,
//! u32 day, 3 x u32); at the end XXH3-64 of all before it. Little-endian. The checksum finds torn and flipped bytes; it
//! keeps nobody out.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use super::{Open, SAMPLES_MAX, Sample, TAGS_MAX, TagUsage, Usage};
use crate::license::ports::{Counts, DailyCount};

const MAGIC: &[u8; 4] = b"CGU1";
const VERSION: u8 = 1;
const SAMPLE_BYTES: usize = 10;

/// The longest tag, in bytes.
pub(super) const TAG_BYTES_MAX: usize = 255;

/// Bytes that are not use. Nothing was read of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUsage {
    /// They end too early, or go on too long.
    #[error("usage data: found {found} bytes; accepted: a whole file as it was written")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// Another format, or a later version.
    #[error("usage data: found format {found:?}; accepted: \"CGU1\", version 1")]
    Format {
        /// The first five bytes.
        found: [u8; 5],
    },
    /// The checksum is not theirs.
    #[error("usage data: found checksum {found:016x}; accepted: {computed:016x}, which is what the data have")]
    Checksum {
        /// The one at the end.
        found: u64,
        /// What the data have.
        computed: u64,
    },
    /// Something in them cannot be.
    #[error("usage data: found {0}, which cannot be; accepted: what this program writes")]
    Content(&'static str),
}

impl Usage {
    /// All of it, as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let samples: usize = self.tags.values().map(|of| of.samples.len()).sum();
        let mut out = Vec::with_capacity(64 + self.tags.len() * 300 + samples * SAMPLE_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&u16::try_from(self.tags.len()).unwrap_or(u16::MAX).to_le_bytes());
        for (tag, of) in &self.tags {
            out.push(u8::try_from(tag.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(tag.as_bytes());
            let (flag, open) = of.open.map_or((0, Open { peak: 0, peak_s: 0 }), |open| (1, open));
            out.push(flag);
            out.extend_from_slice(&open.peak.to_le_bytes());
            out.extend_from_slice(&open.peak_s.to_le_bytes());
            out.extend_from_slice(&u32::try_from(of.samples.len()).unwrap_or(u32::MAX).to_le_bytes());
            for sample in &of.samples {
                out.extend_from_slice(&sample.end_s.to_le_bytes());
                out.extend_from_slice(&sample.before_s.to_le_bytes());
                out.extend_from_slice(&sample.peak.to_le_bytes());
            }
        }
        let none = DailyCount { day: 0, counts: Counts::default() };
        out.push(u8::from(self.capacity.is_some()));
        let DailyCount { day, counts } = self.capacity.unwrap_or(none);
        for number in [day, counts.essential, counts.advanced, counts.systems] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let sum = xxh3_64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// From what [`encode`](Usage::encode) made.
    ///
    /// # Errors
    /// If the bytes are not that: nothing is read of them then.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadUsage> {
        let length = BadUsage::Length { found: bytes.len() };
        let (head, rest) = bytes.split_first_chunk::<5>().ok_or(length)?;
        if head != b"CGU1\x01" {
            return Err(BadUsage::Format { found: *head });
        }
        let (body, sum) = rest.split_last_chunk::<8>().ok_or(length)?;
        let found = u64::from_le_bytes(*sum);
        let computed = xxh3_64(bytes.get(..bytes.len() - 8).ok_or(length)?);
        if found != computed {
            return Err(BadUsage::Checksum { found, computed });
        }
        let mut reader = Reader { rest: body, length };
        let usage = reader.usage()?;
        if reader.rest.is_empty() { Ok(usage) } else { Err(length) }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    length: BadUsage,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadUsage> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.length)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, BadUsage> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn flag(&mut self) -> Result<bool, BadUsage> {
        match self.take::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(BadUsage::Content("a flag other than 0 and 1")),
        }
    }

    fn usage(&mut self) -> Result<Usage, BadUsage> {
        let mut usage = Usage::default();
        let tags = usize::from(u16::from_le_bytes(self.take()?));
        if tags > TAGS_MAX {
            return Err(BadUsage::Content("too many tags"));
        }
        for _ in 0..tags {
            let [length] = self.take::<1>()?;
            let (name, rest) = self.rest.split_at_checked(usize::from(length)).ok_or(self.length)?;
            self.rest = rest;
            let name = std::str::from_utf8(name).map_err(|_| BadUsage::Content("a tag that is not UTF-8"))?;
            let of = self.tag()?;
            if name.is_empty() || usage.tags.insert(name.to_owned(), of).is_some() {
                return Err(BadUsage::Content("an empty tag, or one twice"));
            }
        }
        let counted = self.flag()?;
        let [day, essential, advanced, systems] = [self.u32()?, self.u32()?, self.u32()?, self.u32()?];
        usage.capacity = counted.then_some(DailyCount { day, counts: Counts { essential, advanced, systems } });
        Ok(usage)
    }

    fn tag(&mut self) -> Result<TagUsage, BadUsage> {
        let is_open = self.flag()?;
        let open = Open { peak: self.u32()?, peak_s: self.u32()? };
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > SAMPLES_MAX {
            return Err(BadUsage::Content("more samples than a year has"));
        }
        // What is there bounds what is reserved.
        if count * SAMPLE_BYTES > self.rest.len() {
            return Err(self.length);
        }
        let mut samples = VecDeque::with_capacity(count);
        let mut last = 0;
        for _ in 0..count {
            let sample = Sample { end_s: self.u32()?, before_s: u16::from_le_bytes(self.take()?), peak: self.u32()? };
            if sample.end_s < last {
                return Err(BadUsage::Content("samples out of order"));
            }
            last = sample.end_s;
            samples.push_back(sample);
        }
        Ok(TagUsage { samples, open: is_open.then_some(open), ..TagUsage::default() })
    }
}
