//! etcd as the lender: drives the pure [`crate::cluster::chunks`] against a real one. In builds with the feature `etcd`.
//!
//! | part | what it does |
//! |---|---|
//! | `access` | the way to etcd: endpoints, TLS, user; requests as the core words them |
//! | `task` | one task that owns the core; one request is under way at a time |
//! | `supervisor` | starts it again if it ends |
//!
//! What must stay true: the anchor of a term is read before its request leaves; a request that nobody answered in time is
//! told as failed and its answer, should it come, is dropped; nothing here is on the way of a call.

mod access;
mod supervisor;
mod task;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use self::access::{EtcdError, ask};
pub use self::supervisor::EtcdSupervisor;
use super::setup::{Shared, shared};
use crate::cluster::chunks::{ChunkSetup, Terms};
use crate::cluster::{LedgerId, NodeName, Parameters};
use crate::shell::config::{Config, Etcd, LedgerEngine};
use crate::shell::store::make_private_dir;

/// This state directory's number, under `node.data_dir`.
const LEDGER_FILE: &str = "etcd-ledger";

/// What a node is told that takes its chunks of etcd.
#[derive(Debug, Clone)]
pub struct EtcdSetup {
    /// Its name.
    pub node: NodeName,
    /// The way to etcd.
    pub etcd: Etcd,
    /// What it shares, in the order of its pools.
    pub shared: Vec<Shared>,
    /// Parameters.
    pub params: Parameters,
    /// Where its number lies.
    pub dir: PathBuf,
}

impl EtcdSetup {
    /// What the configuration tells; `None` where etcd doesn't lend. The configuration was checked as a whole.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let cluster = &config.cluster;
        match cluster.ledger {
            LedgerEngine::Mesh => None,
            LedgerEngine::Etcd => Some(Self {
                node: config.node.name.parse().ok()?,
                etcd: cluster.etcd.clone(),
                shared: shared(config),
                params: cluster.parameters.clone(),
                dir: config.node.data_dir.join("cluster"),
            }),
        }
    }

    /// The core's part of it.
    fn core(&self, ledger: LedgerId, life: u64) -> ChunkSetup {
        let terms: Terms = self.etcd.terms();
        ChunkSetup {
            node: self.node.clone(),
            ledger,
            life,
            resources: self.shared.iter().map(|shared| shared.resource.clone()).collect(),
            params: self.params.clone(),
            terms,
        }
    }
}

/// This state directory's number, drawn when it is first asked for: who has it is the same node after a restart.
fn ledger_id(dir: &Path) -> Result<LedgerId, EtcdError> {
    let path = dir.join(LEDGER_FILE);
    let failed = |what: &'static str| {
        let path = path.clone();
        move |source| EtcdError::File { what, path, source }
    };
    make_private_dir(dir)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            u128::from_str_radix(text.trim(), 16).map(LedgerId).map_err(|_| EtcdError::Ledger { path: path.clone() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(EtcdError::Random)?;
            let id = u128::from_le_bytes(bytes);
            let fresh = dir.join(format!("{LEDGER_FILE}.new"));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)
                .map_err(failed("make"))?;
            file.write_all(format!("{id:032x}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| std::fs::rename(&fresh, &path))
                .and_then(|()| std::fs::File::open(dir)?.sync_all())
                .map_err(failed("write"))?;
            Ok(LedgerId(id))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_keeps_its_number_and_one_that_cannot_be_read_is_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = ledger_id(dir.path()).unwrap();
        assert_eq!(ledger_id(dir.path()).unwrap(), first);
        std::fs::write(dir.path().join(LEDGER_FILE), "what?").unwrap();
        let error = ledger_id(dir.path()).unwrap_err().to_string();
        assert!(error.contains(LEDGER_FILE), "{error}");
    }
}
