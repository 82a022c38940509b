//! The journal's directory: names, headers, the lock, and the host's boot.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::format::{FORMAT_VERSION, FileKind, HEADER_BYTES, Header, HeaderError};
use super::reader::{Damage, DamageKind};
use crate::admission::RECORD_VERSION;
use crate::shell::clock::Clock;
use crate::shell::store::make_private_dir;
use crate::units::Now;

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open.
    #[error("{} is in use by another callgate: two cannot share one data_dir", dir.display())]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// A later version of callgate wrote it. Nothing was changed.
    #[error(
        "{} was written by a later callgate (format {format}, records {record}); this one reads up to format \
         {FORMAT_VERSION}, records {RECORD_VERSION}. Run the later version again, or, to go on without the calls that it \
         knows, move the directory away; nothing was changed",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its format version.
        format: u16,
        /// Its record version.
        record: u16,
    },
    /// There is no room for a segment.
    #[error(
        "{} has no room for a journal segment of {bytes} bytes: {source}. Free some space, or set a smaller segment size",
        dir.display()
    )]
    NoRoom {
        /// The journal's directory.
        dir: PathBuf,
        /// What was asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory could not be made.
    #[error(transparent)]
    Store(#[from] crate::shell::store::StoreError),
    /// No random bytes for a file's id.
    #[error("the system has no random bytes to name a journal file with: {0}")]
    Random(getrandom::Error),
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// Which boot this is, and how its clocks are read. Ticks count from boot: those of another boot are moved by the wall
/// clock.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// `/proc/sys/kernel/random/boot_id`; zero if there is none, which equals no other boot.
    pub boot_id: [u8; 16],
    /// Reads both clocks.
    pub now: fn() -> Now,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn this() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let digits = boot_id.map(|text| text.trim().replace('-', "")).unwrap_or_default();
        let boot_id = u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes();
        Self { boot_id, now: || Clock.now() }
    }

    pub(super) fn clocks(&self) -> (u64, u64) {
        let Now { tick, wall } = (self.now)();
        (tick.0, wall.0.saturating_mul(1_000_000))
    }

    /// What to add to a tick of a file with this header.
    pub(super) fn offset_of(&self, header: &Header) -> i64 {
        if self.boot_id == header.boot_id && self.boot_id != [0; 16] {
            return 0;
        }
        let (boottime, realtime) = self.clocks();
        // When each boot's clock was zero, by the wall clock.
        let zero = |boottime: u64, realtime: u64| i128::from(realtime) - i128::from(boottime);
        let offset = zero(header.boottime, header.realtime) - zero(boottime, realtime);
        i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
    }
}

/// A journal file's name. Ordered as the files were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    pub(super) generation: u64,
    /// `None` for a snapshot, which covers all shards.
    pub(super) shard: Option<u16>,
    pub(super) sequence: u64,
}

impl FileName {
    fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = name.strip_suffix(".log")?.split_once('-')?;
        let mut parts = rest.split('-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let parsed = match kind {
            "segment" => {
                Self { generation: number()?, shard: Some(u16::try_from(number()?).ok()?), sequence: number()? }
            }
            "snapshot" => Self { generation: number()?, shard: None, sequence: number()? },
            _ => return None,
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    fn parse_unfinished(name: &str) -> Option<Self> {
        Self::parse(&format!("{}.log", name.strip_suffix(".new")?))
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    fn unfinished_path(&self, dir: &Path) -> PathBuf {
        self.path(dir).with_extension("new")
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { generation, shard, sequence } = self;
        match shard {
            Some(shard) => write!(f, "segment-{generation:08}-{shard:04}-{sequence:010}.log"),
            None => write!(f, "snapshot-{generation:08}-{sequence:010}.log"),
        }
    }
}

/// A file that can be read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: FileName,
    pub(super) path: PathBuf,
    pub(super) header: Header,
}

/// What the directory holds.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Files with a good header, in the order of their names.
    pub(super) found: Vec<Found>,
    /// Files of ours that were made and never used.
    blank: Vec<FileName>,
    /// Files of ours with no good header.
    damaged: Vec<FileName>,
    pub(super) damage: Vec<Damage>,
}

impl Scanned {
    /// Reads every header. Changes nothing.
    ///
    /// # Errors
    /// If the directory or a file cannot be read, or a later version wrote one of them.
    pub(super) fn read(dir: &Path) -> Result<Self, JournalError> {
        // A segment under `.new` may hold records: a power loss can take its last name back. Its header is written last, so
        // that a good one says that it was ready. With both names the good one wins.
        let list = || -> io::Result<Vec<(FileName, bool)>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?.file_name();
                let Some(entry) = entry.to_str() else { continue };
                names.extend(FileName::parse(entry).map(|name| (name, false)));
                names.extend(FileName::parse_unfinished(entry).map(|name| (name, true)));
            }
            names.sort_unstable();
            names.dedup_by_key(|(name, _)| *name);
            Ok(names)
        };
        let names = list().map_err(|source| JournalError::io("list", dir, source))?;
        let mut scanned = Self::default();
        for (name, is_unfinished) in names {
            let path = if is_unfinished { name.unfinished_path(dir) } else { name.path(dir) };
            let (head, length) = read_head(&path).map_err(|source| JournalError::io("read", &path, source))?;
            match Header::parse(&head) {
                Ok(header)
                    if (header.kind == FileKind::Snapshot) == name.shard.is_none()
                        && !(is_unfinished && name.shard.is_none()) =>
                {
                    scanned.found.push(Found { name, path, header });
                }
                Err(HeaderError::Newer { format, record }) => {
                    return Err(JournalError::NewerVersion { path, format, record });
                }
                Ok(_) | Err(HeaderError::Blank | HeaderError::Damaged) if is_unfinished => {}
                Err(HeaderError::Blank) => scanned.blank.push(name),
                Ok(_) | Err(HeaderError::Damaged) => {
                    scanned.damaged.push(name);
                    let file = name.to_string();
                    scanned.damage.push(Damage { file, offset: 0, bytes: length, kind: DamageKind::Header });
                }
            }
        }
        Ok(scanned)
    }

    /// Gives the segments that were found under `.new` their names, so that they are replaced as others are.
    ///
    /// # Errors
    /// If the system does not rename one.
    pub(super) fn name_unfinished(&mut self, dir: &Path) -> Result<(), JournalError> {
        for found in &mut self.found {
            let path = found.name.path(dir);
            if found.path != path {
                std::fs::rename(&found.path, &path)
                    .map_err(|source| JournalError::io("rename", &found.path, source))?;
                found.path = path;
            }
        }
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = FileName> {
        self.found.iter().map(|found| found.name).chain(self.blank.iter().copied()).chain(self.damaged.iter().copied())
    }

    pub(super) fn generation_last(&self) -> u64 {
        self.names().map(|name| name.generation).max().unwrap_or(0)
    }
}

fn read_head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    file.take(u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX)).read_to_end(&mut head)?;
    Ok((head, length))
}

/// Makes the directory if need be and locks it for this process. The lock ends with the file, also by a kill.
pub(super) fn lock(dir: &Path) -> Result<File, JournalError> {
    make_private_dir(dir)?;
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| JournalError::io("open", &path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(JournalError::io("lock", &path, error.into())),
    }
}

/// Bytes of all files there, as they are told; what goes away meanwhile is not counted.
pub(super) fn bytes_on_disk(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// Removes what an earlier run was making when it stopped.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), JournalError> {
    let remove = || -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let is_ours = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse_unfinished);
            if is_ours.is_some() {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    };
    remove().map_err(|source| JournalError::io("clean up", dir, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Tick, UnixMillis};

    #[test]
    fn a_name_is_read_as_it_is_written_and_others_are_not_ours() {
        for name in [
            FileName { generation: 12, shard: Some(3), sequence: 45 },
            FileName { generation: u64::MAX, shard: None, sequence: u64::MAX },
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in ["lock", "segment-1-2-3.log", "segment-00000001-0000.log", "snapshot-x-1.log", "notes.log", ""] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn ticks_of_the_same_boot_stay_and_those_of_another_move_by_the_wall_clock() {
        let mut header = Header {
            record_version: 1,
            kind: FileKind::Segment,
            shard: 0,
            shards: 1,
            generation: 1,
            sequence: 1,
            id: 0,
            boot_id: [1; 16],
            boottime: 5_000_000_000,
            realtime: 100_000_000_000,
            length: 0,
        };
        let host = Host { boot_id: [1; 16], now: || Now { tick: Tick(2_000_000_000), wall: UnixMillis(160_000) } };
        assert_eq!(host.offset_of(&header), 0);
        header.boot_id = [2; 16];
        // Tick 5 s was at wall 100 s; now tick 2 s is at wall 160 s, so that wall 100 s would be tick -58 s.
        assert_eq!(host.offset_of(&header), -63_000_000_000);
        header.boot_id = [0; 16];
        assert_eq!(
            Host { boot_id: [0; 16], ..host }.offset_of(&header),
            -63_000_000_000,
            "an unknown boot equals none"
        );
    }
}
