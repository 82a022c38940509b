//! A host of the cluster: its clock, its disk, its calls, and the process that runs on it, if one does.

use std::collections::{BTreeMap, VecDeque};

use callgate::cluster::{Cluster, Key, LedgerId, NodeName, Record};
use callgate::units::Tick;

use crate::desk::Desks;
use crate::world::Ev;

/// A clock whose rate is wrong by so many parts per million.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    local: u64,
    real: u64,
    ppm: i64,
}

const MILLION: i128 = 1_000_000;

impl Clock {
    pub const fn new(local: u64, real: u64, ppm: i64) -> Self {
        Self { local, real, ppm }
    }

    /// What it shows.
    pub fn at(&self, real: u64) -> Tick {
        let passed = i128::from(real - self.real) * (MILLION + i128::from(self.ppm)) / MILLION;
        Tick(self.local + u64::try_from(passed).unwrap())
    }

    /// When it shows that, or later.
    pub fn real_of(&self, local: Tick) -> u64 {
        let passed = i128::from(local.0.saturating_sub(self.local));
        let rate = MILLION + i128::from(self.ppm);
        let real = self.real.saturating_add(u64::try_from((passed * MILLION).div_euclid(rate)).unwrap_or(u64::MAX));
        real.saturating_add(1)
    }

    pub fn set_rate(&mut self, real: u64, ppm: i64) {
        *self = Self::new(self.at(real).0, real, ppm);
    }
}

/// What survives a crash.
#[derive(Debug, Clone)]
pub struct Disk {
    pub id: LedgerId,
    pub inc: u64,
    pub records: BTreeMap<Key, Record>,
    /// A write takes so long, in microseconds.
    pub us: (u64, u64),
    /// Writes fail until then.
    pub fails_until: u64,
    /// Nothing was ever lent on this ledger.
    pub is_new: bool,
}

/// Calls of a resource at a host.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// Live sessions, forced ones included.
    pub live: u32,
    pub forced: u32,
    /// The journal holds them for live, though they ended.
    pub stale: u32,
    /// Ended while the process stood still.
    pub unheard: u32,
    pub unheard_forced: u32,
    /// Admissions of the last second, forced ones left out, in real time.
    pub recent: VecDeque<u64>,
}

/// The process.
#[derive(Debug)]
pub struct Live {
    pub cluster: Cluster,
    pub desks: Desks,
    pub writing: Option<(u64, Vec<Record>)>,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    pub name: NodeName,
    pub live: Option<Live>,
    /// How often a process was started here, and how often the host.
    pub life: u32,
    pub era: u32,
    pub disk: Disk,
    pub clock: Clock,
    pub paused: bool,
    pub deferred: Vec<Ev>,
    pub calls: Vec<Calls>,
    /// Calls per second, and which change of that it is.
    pub load: Vec<(u64, u32)>,
    pub wake_at: u64,
    pub contact_lost_until: u64,
    /// When the agent brings a grant, by resource.
    pub grant_due: Vec<u64>,
    /// So many calls came while it stood still.
    pub resumes_with: u32,
    /// Its loans were rebuilt from what others say: it may count more as lent than it holds.
    pub vouched: bool,
    /// Its journal lost the last second.
    pub torn: bool,
}

impl Host {
    /// Calls of a resource that count, in units.
    pub fn used(&mut self, of: usize, is_rate: bool, now: u64) -> u32 {
        let calls = &mut self.calls[of];
        if !is_rate {
            return calls.live - calls.forced;
        }
        while calls.recent.front().is_some_and(|at| at + crate::story::SECOND <= now) {
            calls.recent.pop_front();
        }
        u32::try_from(calls.recent.len()).unwrap()
    }

    /// The limit by the clock of an admission now.
    pub fn limit(&self, of: usize, now: u64) -> u32 {
        self.live.as_ref().map_or(0, |live| live.desks.0[of].limit(self.clock.at(now)))
    }
}
