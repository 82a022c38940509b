//! Reads the frames of one file, and says what was damaged.
//!
//! Bytes come from any `Read`; a window of them is kept, so that a file of any length needs little memory.

use std::io::{self, Read};

use super::format::{Content, FRAME_ALIGN, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Header, decode, read_frame};

/// Bytes that are read at a time.
const WINDOW_BYTES: usize = 256 * 1024;

/// The free space of a segment is mostly what there is to read: compared as a block, it costs next to nothing.
static ZEROS: [u8; WINDOW_BYTES] = [0; WINDOW_BYTES];

/// A place of a journal file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// Where the damaged bytes begin.
    pub offset: u64,
    /// How many there are; for a file that is too short, how many are missing.
    pub bytes: u64,
    /// What was found.
    pub kind: DamageKind,
}

/// What kind of damage it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// Neither copy of the header is good: nothing of the file was read.
    Header,
    /// Bytes that are no record, with records behind them.
    Middle,
    /// Bytes that are no record at the end: torn by a kill in the middle of a write, or damaged.
    Tail,
    /// The file is shorter than it was made.
    Cut,
    /// The snapshot has no end, or not as many records as its end says.
    Incomplete,
    /// The system could not read it.
    Unreadable(String),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, offset, bytes, kind } = self;
        match kind {
            DamageKind::Header => write!(f, "{file}: its header is damaged: none of its {bytes} bytes was read"),
            DamageKind::Middle => {
                write!(f, "{file}: {bytes} damaged bytes at offset {offset} were skipped; what follows was read")
            }
            DamageKind::Tail => write!(f, "{file}: {bytes} torn or damaged bytes at its end, from offset {offset} on"),
            DamageKind::Cut => write!(f, "{file}: it ends at offset {offset}, {bytes} bytes too early"),
            DamageKind::Incomplete => write!(f, "{file}: the snapshot is not complete"),
            DamageKind::Unreadable(error) => write!(f, "{file}: cannot be read from offset {offset} on: {error}"),
        }
    }
}

/// Reads frame after frame.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    from: R,
    header: Header,
    window: Vec<u8>,
    /// Where the next frame begins, in the window.
    at: usize,
    /// Where the window begins, in the file.
    base: u64,
    ended: bool,
    /// Damaged places since they were last taken: offset, bytes, kind.
    damage: Vec<(u64, u64, DamageKind)>,
}

impl<R: Read> FrameReader<R> {
    /// A reader that stands behind the header, which was read from `from`.
    pub(super) fn new(from: R, header: Header) -> Self {
        let base = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        Self { from, header, window: Vec::new(), at: 0, base, ended: false, damage: Vec::new() }
    }

    /// What was damaged since the last call.
    pub(super) fn take_damage(&mut self) -> Vec<(u64, u64, DamageKind)> {
        std::mem::take(&mut self.damage)
    }

    /// The next frame's content, or `None` at the end.
    pub(super) fn next(&mut self) -> Option<Content> {
        // Where unreadable bytes began, and where the last of them that isn't zero ends.
        let mut skipped: Option<(u64, u64)> = None;
        loop {
            if let Err(error) = self.fill() {
                self.damage.push((self.offset(), 0, DamageKind::Unreadable(error.to_string())));
                self.ended = true;
                self.window.truncate(self.at);
            }
            let rest = self.window.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                self.finish(skipped);
                return None;
            }
            let offset = self.offset();
            if let Frame::Good(content, length) = read_frame(rest, self.header.id, offset)
                && let Some(content) = decode(self.header.record_version, content)
            {
                self.at += length.min(rest.len());
                if let Some((begin, _)) = skipped {
                    self.damage.push((begin, offset - begin, DamageKind::Middle));
                }
                return Some(content);
            }
            let step = if ZEROS.get(..rest.len()) == Some(rest) { rest.len() } else { FRAME_ALIGN.min(rest.len()) };
            let last = rest.iter().take(step).rposition(|byte| *byte != 0);
            let (begin, end) = skipped.unwrap_or((offset, offset));
            let end = last.map_or(end, |last| offset + u64::try_from(last).unwrap_or(0) + 1);
            skipped = Some((begin, end));
            self.at += step;
        }
    }

    fn offset(&self) -> u64 {
        self.base + u64::try_from(self.at).unwrap_or(0)
    }

    /// Makes sure that a whole frame lies in the window, if the file has so much.
    fn fill(&mut self) -> io::Result<()> {
        if self.ended || self.window.len() - self.at >= FRAME_BYTES_MAX {
            return Ok(());
        }
        self.base = self.offset();
        self.window.drain(..self.at);
        self.at = 0;
        let have = self.window.len();
        let wanted = u64::try_from(WINDOW_BYTES - have).unwrap_or(0);
        let got = self.from.by_ref().take(wanted).read_to_end(&mut self.window)?;
        self.ended = u64::try_from(got).unwrap_or(0) < wanted;
        Ok(())
    }

    /// At the end of the file: zeros behind the last frame are its free space, anything else is a torn tail.
    fn finish(&mut self, skipped: Option<(u64, u64)>) {
        if let Some((begin, end)) = skipped
            && end > begin
        {
            self.damage.push((begin, end - begin, DamageKind::Tail));
        }
        let length = self.offset();
        if length < self.header.length
            && !self.damage.iter().any(|(.., kind)| matches!(kind, DamageKind::Cut | DamageKind::Unreadable(_)))
        {
            self.damage.push((length, self.header.length - length, DamageKind::Cut));
        }
        // Said once: further calls find nothing.
        self.header.length = 0;
    }
}
