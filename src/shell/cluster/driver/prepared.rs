//! From the files to a core that can be driven. Waits for the disk.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::task::Driver;
use crate::cluster::{Action, Cluster, Epoch, HomeGrant, Key, Ledger, Licenses, Record, ResourceIndex};
use crate::shell::cluster::identity::{Identity, IdentityError};
use crate::shell::cluster::ledger::{LedgerError, LedgerFile, Opened};
use crate::shell::cluster::pools::DriverPools;
use crate::shell::cluster::setup::{ClusterSetup, Shared, licenses};
use crate::shell::cluster::transport::{EVENTS_MAX, LinkEvent, Transport, TransportError};
use crate::shell::context::Context;
use crate::sync::Mutex;

/// How pools are made.
type Make = dyn Fn(&Arc<Context>, &[Shared]) -> Box<dyn DriverPools> + Send + Sync;

/// Makes the pools of shared resources, at each start of a driver.
#[derive(Clone)]
pub struct MakePools(pub Arc<Make>);

impl fmt::Debug for MakePools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MakePools(..)")
    }
}

/// Why no driver could be started.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The way to the peers.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What etcd's driver needs.
    #[cfg(feature = "etcd")]
    #[error(transparent)]
    Etcd(#[from] crate::shell::cluster::etcd::EtcdError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A core that started, with everything that its driver needs.
pub struct Prepared {
    pub(super) setup: ClusterSetup,
    pub(super) cluster: Cluster,
    pub(super) pools: Box<dyn DriverPools>,
    pub(super) ledger: Arc<Mutex<LedgerFile>>,
    pub(super) homes: Homes,
    /// What waits until the driver runs: everything but what had to be durable at once.
    pub(super) waiting: VecDeque<Action>,
    pub(super) transport: Transport,
    pub(super) events: mpsc::Receiver<LinkEvent>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Prepared({})", self.setup.node)
    }
}

impl Prepared {
    /// Reads the certificates, opens the ledger, starts the core under this node's counts, and listens. Call it inside a
    /// runtime, on a thread that may wait.
    ///
    /// # Errors
    /// If anything of it can't be had. The gate's limits are as they were, or lower.
    pub fn open(setup: ClusterSetup, context: &Arc<Context>, make_pools: &MakePools) -> Result<Self, ClusterError> {
        let now = context.clock.now();
        let identity = Identity::read(&setup.files, &setup.node, now.wall)?;
        // Before the ledger: an address that can't be had is no new life.
        let socket = bind(&setup)?;
        let Opened { mut file, ledger, warnings } = LedgerFile::open(&setup.ledger)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(ClusterError::Random)?;
        let mut pools = (make_pools.0)(context, &setup.shared);
        let mut homes = Homes::of(&ledger, &setup.shared);
        // Each ledger begins with a census, which its first batch of records says: what its name lent before isn't in it.
        let begins = !ledger.records.contains_key(&Key::Fenced);
        let mut cluster = Cluster::new(setup.core(u64::from_le_bytes(seed)), ledger, now.tick, &mut *pools);
        cluster.handle_wall(now.wall);
        if begins {
            cluster.fence(now.tick, &mut *pools);
        }
        // All of them: those that did not change are confirmed for this life.
        for (index, grant) in homes.confirmed(&licenses(&setup.shared, &context.cluster.homes())) {
            cluster.handle_grant(index, grant, now.tick, &mut *pools);
        }
        let mut waiting = VecDeque::new();
        while let Some(action) = cluster.poll_action() {
            match action {
                Action::Persist { batch, records } => {
                    file.persist(&records)?;
                    cluster.handle_persisted(batch, context.clock.tick(), &mut *pools);
                }
                other @ (Action::Send { .. } | Action::Gossip { .. } | Action::GrantAck { .. } | Action::Tell(_)) => {
                    waiting.push_back(other);
                }
            }
        }
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let transport = Transport::start(socket, identity, &setup.peers, sender)?;
        let ledger = Arc::new(Mutex::new(file));
        Ok(Self { setup, cluster, pools, ledger, homes, waiting, transport, events })
    }

    /// The driver, ready to run.
    pub(super) fn into_driver(self) -> Driver {
        Driver::new(self)
    }
}

/// Takes the address. The one that a driver before had is free a moment after it ended.
#[expect(clippy::disallowed_methods, reason = "this runs on a thread that may wait, for the disk too")]
fn bind(setup: &ClusterSetup) -> Result<UdpSocket, TransportError> {
    for _ in 0..40 {
        match Transport::bind(setup.listen) {
            Err(TransportError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done,
        }
    }
    Transport::bind(setup.listen)
}

/// What the core was told that this node holds. An epoch rises when the count changes, and only then; this node alone
/// compares them, so they are counted here, on from the ledger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Homes(Vec<Option<(Epoch, Licenses)>>);

impl Homes {
    pub(super) fn of(ledger: &Ledger, shared: &[Shared]) -> Self {
        let found = |of: &Shared| match ledger.records.get(&Key::Home(of.resource.id.clone())) {
            Some(Record::Home { epoch, home, .. }) => Some((*epoch, *home)),
            Some(_) | None => None,
        };
        Self(shared.iter().map(found).collect())
    }

    /// What is to be told now.
    pub(super) fn changed(&mut self, wanted: &[Licenses]) -> Vec<(ResourceIndex, HomeGrant)> {
        let before = self.0.clone();
        let mut told = self.confirmed(wanted);
        told.retain(|(index, grant)| before.get(index.0) != Some(&Some((grant.epoch, grant.home))));
        told
    }

    /// All that this node holds: what a new life has to be told once.
    pub(super) fn confirmed(&mut self, wanted: &[Licenses]) -> Vec<(ResourceIndex, HomeGrant)> {
        let places = self.0.iter_mut().zip(wanted).enumerate();
        let grants = places.map(|(place, (told, wanted))| {
            let epoch = match told {
                Some((epoch, home)) if home == wanted => *epoch,
                Some((epoch, _)) => Epoch(epoch.0.saturating_add(1)),
                None => Epoch(1),
            };
            *told = Some((epoch, *wanted));
            // A cap's part is this node's by configuration: it never lapses, and a new life begins with it.
            let grant = HomeGrant { epoch, home: *wanted, fixed_share: *wanted, not_after: None };
            (ResourceIndex(place), grant)
        });
        grants.collect()
    }

    /// What each is now.
    pub(super) fn counts(&self) -> impl Iterator<Item = Licenses> {
        self.0.iter().map(|told| told.map_or(Licenses::ZERO, |(_, home)| home))
    }
}
