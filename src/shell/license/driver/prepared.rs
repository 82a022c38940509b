//! From the stores to an agent that can be driven: what must be known before the first call is judged.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::stores::{OpenError, Saved, Stores};
use super::task::{Driver, Parts};
use crate::admission::{NodePool, Policy};
use crate::license::agent::{Action, Agent, Leaving, Limits};
use crate::license::ports::DailyCount;
use crate::license::view::LicenseView;
use crate::limits::Verdict;
use crate::node::Home;
use crate::shell::cluster::setup::in_force;
use crate::shell::config::{Config, Secrets};
use crate::shell::license::setup::{Host, agent_setup, ports, transport_settings};
use crate::shell::license::status::LicenseStatus;
use crate::shell::license::transport::Transport;
use crate::shell::store::StoreError;
use crate::sync::Mutex;
use crate::units::Now;

/// Where the driver finds what it needs, at each start of the agent.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The state directory.
    pub data_dir: PathBuf,
    /// The directory of the copies that don't depend on it.
    pub outside: Option<PathBuf>,
    /// The host's name.
    pub host_name: String,
}

/// An agent that started, and what it wants done.
#[derive(Debug)]
pub struct Prepared {
    pub(super) agent: Agent,
    pub(super) limits: Option<Limits>,
    /// What waits until calls are judged: everything behind the first limits but what was to be kept.
    pub(super) waiting: VecDeque<Action>,
    pub(super) parts: Parts,
    pub(super) degraded: Option<String>,
    /// The state that was found is in force, and what the start makes of it can be written nowhere.
    pub(super) unsaved: Option<String>,
    /// The state that was found is in the middle of a factory reset; the start ends it.
    pub(super) resetting: bool,
    pub(super) evaluation_complaint: Option<String>,
    pub(super) usage_complaint: Option<String>,
    pub(super) lost: Option<String>,
}

impl Prepared {
    /// Opens the stores, starts the agent, and keeps its first state. Waits for the disk.
    ///
    /// A state that was found binds calls although nothing can be written: a full disk and a reboot stop no service.
    ///
    /// # Errors
    /// If a store cannot be read; or if nothing was found, and the state can be written nowhere.
    pub fn open(sources: &Sources, config: &Config, secrets: &Secrets, now: Now) -> Result<Self, OpenError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(StoreError::Random)?;
        let stable_id = config.license.stable_id.as_deref();
        let (mut stores, mut found, seal) =
            Stores::open(&sources.data_dir, sources.outside.as_deref(), stable_id, &config.profile)?;
        let configured = ports(config);
        // A count of an earlier day holds until the agent is there to say what time it is: the wall clock may be wrong.
        let count = &mut found.stored.usage.get_or_insert_default().capacity;
        if count.is_none() {
            DailyCount::refresh(count, &configured, now.wall);
        }
        let count = *count;
        let host = Host { name: sources.host_name.clone(), fingerprint: seal.fingerprint() };
        let setup = agent_setup(config, &host, count.as_ref());
        let leaving = found.stored.state.as_ref().and_then(|state| state.leaving);
        let nothing_found = found.stored.state.is_none();
        let mut agent = Agent::start(setup, found.stored, now, seed);
        let mut waiting = VecDeque::new();
        let (mut limits, mut degraded, mut unsaved, mut saved) = (None, None, None, false);
        while let Some(action) = agent.poll_action() {
            match action {
                Action::Persist(state) => match stores.save(&state) {
                    Ok(Saved { degraded: some }) => {
                        degraded = some;
                        saved = true;
                    }
                    Err(error) if nothing_found => return Err(OpenError::NotSaved(error)),
                    Err(error) => {
                        // Nothing behind it happens; the limits of what was found came before it.
                        agent.persist_failed(now);
                        unsaved = Some(error);
                    }
                },
                Action::SetLimits(found) => limits = Some(found),
                other @ (Action::Send(_)
                | Action::Cancel(_)
                | Action::Raise(_)
                | Action::Clear(_)
                | Action::Notice(_)) => waiting.push_back(other),
            }
        }
        if !saved
            && unsaved.is_none()
            && let Err(error) = stores.save(agent.state())
        {
            if nothing_found {
                return Err(OpenError::NotSaved(error));
            }
            unsaved = Some(error);
        }
        let limits = limits.or_else(|| agent.limits().cloned());
        let parts = Parts {
            stores: Arc::new(Mutex::new(stores)),
            seal,
            host,
            transport: Transport::new(transport_settings(config, secrets, agent.way_in_force())),
            config: Arc::new(config.clone()),
            secrets: secrets.clone(),
            ports: configured,
        };
        Ok(Self {
            agent,
            limits,
            waiting,
            parts,
            degraded,
            unsaved,
            resetting: leaving == Some(Leaving::FactoryReset),
            evaluation_complaint: found.evaluation_complaint,
            usage_complaint: found.usage_complaint,
            lost: found.lost,
        })
    }

    /// The gate's settings where nodes share `pools`, and what this node brings of each of those.
    #[must_use]
    pub fn in_force(&self, pools: &[NodePool]) -> (Policy, Vec<Home>) {
        in_force(&self.parts.config, self.limits.as_ref(), pools)
    }

    /// What may start.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.limits.as_ref().map(|limits| limits.verdict).unwrap_or_default()
    }

    /// Licensing in figures.
    #[must_use]
    pub fn status(&self) -> LicenseStatus {
        LicenseStatus::of(&self.agent)
    }

    /// Licensing for people.
    #[must_use]
    pub fn view(&self) -> LicenseView {
        let alarms: Vec<_> = self.agent.alarms().cloned().collect();
        LicenseView::of(&self.parts.view(&self.agent, &alarms, &self.parts.texts()))
    }

    /// The driver, ready to run.
    pub(super) fn into_driver(self) -> Driver {
        Driver::new(self)
    }
}
