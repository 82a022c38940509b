//! The cluster's driver, from its start to its stop; certificates that are read again at each reload.

use std::path::PathBuf;
use std::sync::Arc;

use crate::shell::cluster::driver::{ClusterError, ClusterSupervisor, MakePools, Prepared};
#[cfg(feature = "etcd")]
use crate::shell::cluster::etcd::{EtcdSetup, EtcdSupervisor};
use crate::shell::cluster::identity::Identity;
use crate::shell::cluster::pools::gate_pools;
use crate::shell::cluster::setup::{ClusterSetup, Surroundings};
use crate::shell::config::Config;
use crate::shell::context::Context;
use crate::shell::store::MachineKey;

const FINGERPRINT_LABEL: &[u8] = b"callgate cluster ledger, version 1";

/// The cluster's driver, if this node is in a cluster.
#[derive(Debug)]
pub(super) struct Clustering {
    supervisor: Option<ClusterSupervisor>,
    #[cfg(feature = "etcd")]
    etcd: Option<EtcdSupervisor>,
    around: Surroundings,
}

/// What a reload found of certificates.
#[derive(Debug)]
pub(super) struct NewIdentity(ClusterSetup, Identity);

impl Clustering {
    /// Starts the driver, if `[cluster]` is on. Call it when the gate has its settings and its recovered calls, and before a
    /// front end answers: the limits follow from the ledger.
    ///
    /// # Errors
    /// If the certificates, the ledger or the address can't be had.
    pub(super) fn start(context: &Arc<Context>, outside: Option<PathBuf>) -> Result<Self, ClusterError> {
        let config = context.config.load();
        let (machine, _) = MachineKey::of_host(config.license.stable_id.as_deref());
        let machine = machine.mac(FINGERPRINT_LABEL).iter().map(|byte| format!("{byte:02x}")).collect();
        let around = Surroundings { machine, outside };
        let supervisor = match ClusterSetup::of(&config, &around) {
            None => None,
            Some(setup) => {
                let make_pools = MakePools(Arc::new(gate_pools));
                let prepared = Prepared::open(setup, context, &make_pools)?;
                Some(ClusterSupervisor::start(prepared, make_pools, context))
            }
        };
        #[cfg(feature = "etcd")]
        let etcd = match EtcdSetup::of(&config) {
            None => None,
            Some(setup) => Some(EtcdSupervisor::start(setup, MakePools(Arc::new(gate_pools)), context)?),
        };
        Ok(Self {
            supervisor,
            #[cfg(feature = "etcd")]
            etcd,
            around,
        })
    }

    /// Looks after it. Every second or so.
    pub(super) async fn look(&mut self, context: &Arc<Context>) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.look(context).await;
        }
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &mut self.etcd {
            etcd.look(context);
        }
    }

    /// Reads the certificates again, those that a new configuration names.
    ///
    /// # Errors
    /// If they are no identity of this node; then nothing changed.
    pub(super) fn read_identity(&self, config: &Config, context: &Context) -> Result<Option<NewIdentity>, String> {
        let setup = ClusterSetup::of(config, &self.around);
        let Some((supervisor, setup)) = self.supervisor.as_ref().zip(setup) else { return Ok(None) };
        let identity = supervisor.read_identity(&setup, context)?;
        Ok(Some(NewIdentity(setup, identity)))
    }

    /// Puts them in force.
    pub(super) async fn take_identity(&mut self, new: Option<NewIdentity>, context: &Context) {
        if let (Some(supervisor), Some(NewIdentity(setup, identity))) = (&mut self.supervisor, new) {
            supervisor.take_identity(&setup, identity, context).await;
        }
    }

    /// Ends it in order.
    pub(super) async fn stop(self, context: &Context) {
        if let Some(supervisor) = self.supervisor {
            supervisor.stop(context).await;
        }
        #[cfg(feature = "etcd")]
        if let Some(etcd) = self.etcd {
            etcd.stop(context).await;
        }
    }
}
