//! Where the licensing agent's state is kept, and backups of it.

mod backup;
mod disk;
mod seal;
mod state_journal;

pub use backup::{BACKUP_BYTES_MAX, Backup, BackupError, read_backup, write_backup};
pub use disk::{Disk, HostDisk};
pub use seal::{Seal, SealError};
pub use state_journal::{FoundState, NotSaved, StateJournal};

#[cfg(test)]
mod tests;
