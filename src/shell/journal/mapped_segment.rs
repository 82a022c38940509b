//! One segment, mapped into memory. The only unsafe code of the journal is here, and it is the mapping call alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Advice, MmapMut, MmapOptions};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::format::{HEADER_BYTES, Header, write_record};
use crate::admission::Record;

/// What the page size is at least; a touch per so many bytes touches every page.
const PAGE_BYTES: usize = 4096;

/// A file of fixed length, mapped shared: what is written here is in the kernel's page cache, and outlives the process.
#[derive(Debug)]
pub(super) struct MappedSegment {
    map: MmapMut,
    at: usize,
    id: u64,
    sequence: u64,
}

impl MappedSegment {
    /// Makes the file with all its blocks, maps it, touches every page, and writes the header; only then it gets its
    /// name. The second value keeps the file for syncing.
    ///
    /// # Errors
    /// If there is no room, or the file exists, or any of the system calls fails; then no file of that name is left.
    pub(super) fn create(path: &Path, header: &Header) -> io::Result<(Self, File)> {
        let unfinished = path.with_extension("new");
        let made = Self::make(&unfinished, header).and_then(|made| {
            std::fs::rename(&unfinished, path)?;
            Ok(made)
        });
        if made.is_err() {
            // Nothing more can be done if this fails as well: the next start removes it.
            let _ = std::fs::remove_file(&unfinished);
        }
        made
    }

    fn make(path: &Path, header: &Header) -> io::Result<(Self, File)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let length = usize::try_from(header.length).map_err(io::Error::other)?;
        reserve(&file, length)?;
        let mut map = map_whole(&file, length)?;
        touch_every_page(&mut map)?;
        let space = map.first_chunk_mut::<HEADER_BYTES>().ok_or(io::ErrorKind::InvalidInput)?;
        *space = header.bytes();
        Ok((Self { map, at: HEADER_BYTES, id: header.id, sequence: header.sequence }, file))
    }

    /// Its place in the shard's log.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends one record and returns its bytes, or `None` if the segment is full. No system call: plain stores.
    #[inline]
    pub(super) fn append(&mut self, record: &Record) -> Option<usize> {
        let offset = u64::try_from(self.at).unwrap_or(u64::MAX);
        let written = write_record(self.map.get_mut(self.at..)?, self.id, offset, record)?;
        self.at += written;
        Some(written)
    }
}

/// Reserves every block, so that no later store to the mapping can meet a full disk (it would be a SIGBUS). Copy-on-write
/// file systems (btrfs, zfs) do not keep that promise; a journal belongs on ext4, xfs or tmpfs.
fn reserve(file: &File, length: usize) -> io::Result<()> {
    let bytes = u64::try_from(length).map_err(io::Error::other)?;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // The file system cannot reserve: write zeros, which takes the blocks as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = [0; 64 * 1024];
            let mut left = length;
            let mut file = file;
            while left > 0 {
                let piece = left.min(zeros.len());
                file.write_all(zeros.get(..piece).unwrap_or(&zeros))?;
                left -= piece;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Maps the file's first `length` bytes, shared and writable.
#[expect(unsafe_code, reason = "mapping a file is the one way to write it without a system call")]
fn map_whole(file: &File, length: usize) -> io::Result<MmapMut> {
    // SAFETY: the mapping is handed out as a byte slice, so two things must hold for as long as it lives.
    // 1. The file stays as long as the mapping: `reserve` gave it `length` bytes, and nothing in this crate shortens a
    //    segment; it is only ever unlinked, which keeps the pages. The directory is private (0700) and locked by this
    //    process, so that no other callgate opens it either. Somebody with this user's rights who truncates the file
    //    makes a store a SIGBUS: a crash of the process, not a wrong answer.
    // 2. No one else writes the bytes while a reference to them exists: this process maps each file once (it was made
    //    with a name of its own just before), never reads or writes it by another way while mapped, and `MappedSegment`
    //    has one owner, which alone borrows the slice. The kernel reads the pages to write them back; it does not change
    //    them. Bytes have no invalid values, so that even a foreign write could break no type.
    unsafe { MmapOptions::new().len(length).map_mut(file) }
}

/// Takes the page faults now, on the preparing thread, instead of later on the fast path.
fn touch_every_page(map: &mut MmapMut) -> io::Result<()> {
    match map.advise(Advice::PopulateWrite) {
        Ok(()) => Ok(()),
        // Kernels before 5.14 do not know the advice.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            for page in map.chunks_mut(PAGE_BYTES) {
                if let Some(byte) = page.first_mut() {
                    *byte = 0;
                }
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::super::format::{FileKind, Frame, read_frame};
    use super::*;
    use crate::admission::RECORD_VERSION;

    fn header(length: u64) -> Header {
        Header {
            record_version: RECORD_VERSION,
            kind: FileKind::Segment,
            shard: 0,
            shards: 1,
            generation: 1,
            sequence: 1,
            id: 99,
            boot_id: [0; 16],
            boottime: 0,
            realtime: 0,
            length,
        }
    }

    #[test]
    fn a_segment_is_private_has_all_its_blocks_and_holds_what_was_appended_without_any_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (mut segment, file) = MappedSegment::create(&path, &header(65536)).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (65536, 0o600));
        assert!(metadata.blocks() * 512 >= 65536, "the blocks are reserved");
        assert_eq!(segment.append(&Record::SnapshotBegin), Some(8));
        // The mapping still lives and nothing was flushed: another reader sees the bytes, as it would after a kill.
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Header::parse(&bytes), Ok(header(65536)));
        let offset = u64::try_from(HEADER_BYTES).unwrap();
        assert!(matches!(read_frame(&bytes[HEADER_BYTES..], 99, offset), Frame::Good(_, 8)));
        assert!(bytes[HEADER_BYTES + 8..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_full_segment_says_so_and_stays_within_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (mut segment, _file) = MappedSegment::create(&path, &header(65536)).unwrap();
        let appended = std::iter::from_fn(|| segment.append(&Record::SnapshotBegin)).count();
        assert!(appended > 8000, "{appended}");
        assert_eq!(segment.append(&Record::SnapshotBegin), None);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 65536);
    }

    #[test]
    fn the_bytes_outlive_the_unlinking_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (mut segment, _file) = MappedSegment::create(&path, &header(65536)).unwrap();
        std::fs::remove_file(&path).unwrap();
        while segment.append(&Record::SnapshotBegin).is_some() {}
    }

    #[test]
    fn no_room_is_an_error_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        // More than any file system here has: 8 EiB less a page.
        assert!(MappedSegment::create(&path, &header(u64::MAX / 2 - 4095)).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
