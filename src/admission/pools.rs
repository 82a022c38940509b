//! The limits that a cluster moves: one pool per resource that nodes share. The cluster owns such a pool's limit, the policy its cap.
//!
//! A pool is shared from the first [`Gate::set_lease`] on. From then on a policy's count is the most that this host may have,
//! whatever the cluster gives: a reload neither undoes what was lent or borrowed nor is undone by it. A policy without a count
//! lifts the limit, as it does for a pool that isn't shared; what the cluster gave stands again once there is a count.
//!
//! Headroom stays inside the limit. Nothing here runs on the fast path but [`Watch::ran_out`] and [`Watch::look`].

use std::fmt;
use std::sync::OnceLock;

use super::gate::Gate;
use super::policy::Policy;
use super::record::Journal;
use super::request::Cause;
use super::resources::{Settings, export_leases};
use crate::limits::{InUse, Latch, Lease, LowWater, Side, Used};
use crate::units::{Now, Tick};

/// A pool that nodes may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodePool {
    /// The node's calls per second.
    Rate,
    /// Sessions under export control.
    Export,
    /// WebRTC sessions under export control, where they are on.
    Webrtc,
    /// Sessions of the license type of this number: its place in [`Policy::license_types`].
    Type(u16),
}

impl NodePool {
    /// Its place in the lists of all pools.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Rate => 0,
            Self::Export => 1,
            Self::Webrtc => 2,
            Self::Type(number) => 3 + usize::from(number),
        }
    }

    /// The pool whose want of units refused with this cause, if it is one that nodes may share.
    pub(super) const fn refused_by(cause: Cause, license_type: Option<u16>) -> Option<Self> {
        match cause {
            Cause::Cps => Some(Self::Rate),
            Cause::ExportControl => Some(Self::Export),
            Cause::Webrtc => Some(Self::Webrtc),
            Cause::Sessions => match license_type {
                Some(number) => Some(Self::Type(number)),
                None => None,
            },
            Cause::Ok
            | Cause::Duplicate
            | Cause::Emergency
            | Cause::TrunkCps
            | Cause::TrunkSessions
            | Cause::TenantCps
            | Cause::TenantSessions
            | Cause::UnknownTrunk
            | Cause::UnknownTenant
            | Cause::UnknownType
            | Cause::Capacity
            | Cause::Unconfigured
            | Cause::EvaluationExpired
            | Cause::AuthorizationExpired
            | Cause::ReservationExpired
            | Cause::Enforced
            | Cause::Revoked
            | Cause::Draining
            | Cause::Deadline
            | Cause::Late => None,
        }
    }
}

/// What was asked of a pool since the start, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfferedTotal {
    /// Admitted or refused for want of units.
    pub attempts: u64,
    /// Refused for want of units.
    pub refused: u64,
}

/// What the cluster gave.
#[derive(Debug)]
pub(super) struct Loans {
    leases: Vec<Option<Lease>>,
    /// The cluster has no session to spare under export control.
    scarce: bool,
}

impl Loans {
    pub(super) fn new(types: usize) -> Self {
        Self { leases: vec![None; 3 + types], scarce: false }
    }

    pub(super) fn of(&self, pool: NodePool) -> Option<Lease> {
        self.leases.get(pool.index()).copied().flatten()
    }

    /// What is in force of a pool for which the policy has this count.
    pub(super) fn under(&self, pool: NodePool, count: u32) -> Lease {
        self.of(pool).map_or(Lease::fixed(count), |lease| lease.at_most(count))
    }

    /// How the watermark's latch closes: by the node's own rule, unless its sessions are shared.
    pub(super) fn latch(&self) -> Latch {
        match (self.of(NodePool::Export), self.scarce) {
            (None, _) => Latch::Alone,
            (Some(_), false) => Latch::Spare,
            (Some(_), true) => Latch::Scarce,
        }
    }
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// The low-water flags of all pools.
pub(super) struct Watch {
    low: Box<[LowWater]>,
    wake: OnceLock<Hook>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("low", &self.low).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(types: usize) -> Self {
        Self { low: (0..3 + types).map(|_| LowWater::default()).collect(), wake: OnceLock::new() }
    }

    fn low(&self, pool: NodePool) -> Option<&LowWater> {
        self.low.get(pool.index())
    }

    /// A take failed for want of units.
    #[inline]
    pub(super) fn ran_out(&self, pool: NodePool) {
        if let Some(low) = self.low(pool).filter(|low| low.mark().is_some()) {
            self.raise(low);
        }
    }

    /// After a take: raises the flag, unless one more would find room beyond the mark. Not armed: one load.
    #[inline]
    pub(super) fn look(&self, pool: NodePool, has_room: impl FnOnce(u32) -> bool) {
        if let Some(low) = self.low(pool)
            && let Some(mark) = low.mark()
            && !has_room(mark)
        {
            self.raise(low);
        }
    }

    #[cold]
    fn raise(&self, low: &LowWater) {
        if low.raise()
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }
}

impl<J: Journal> Gate<J> {
    /// Who is woken when a pool runs low: called at most once per [`Gate::arm_low_water`], by the thread that decides, under its
    /// lock. So it must neither block nor call the gate; and it should make a system call only if somebody sleeps, as
    /// `tokio::sync::Notify::notify_one` does. Only the first one counts: `false` for any other.
    pub fn on_low_water(&self, wake: impl Fn() + Send + Sync + 'static) -> bool {
        self.resources.watch.wake.set(Box::new(wake)).is_ok()
    }

    /// Asks to be woken when a take fails for want of units, or leaves no more than `mark` of a pool for ordinary calls.
    pub fn arm_low_water(&self, pool: NodePool, mark: u32) {
        if let Some(low) = self.resources.watch.low(pool) {
            low.arm(mark);
        }
    }

    /// Whether a pool ran low since the last call of this. It isn't watched any more until it is armed again.
    pub fn take_low_water(&self, pool: NodePool) -> bool {
        self.resources.watch.low(pool).is_some_and(LowWater::take_raised)
    }

    /// What is in use of a pool; of it, how many units certainly were forced.
    ///
    /// Forced are: emergencies where there was no room, permitted overage, adopted calls, calls counted only from a change of policy
    /// on, and every admission under a rate that is only observed. After a restart none is: which of the restored calls were
    /// isn't known by pool. Shadow mode's calls take nothing. The rate's forced admissions count as such for at most 8 ms less
    /// than the second that they stay in the window; under the burst policy none does.
    #[must_use]
    pub fn pool_used(&self, pool: NodePool, now: Now) -> Used {
        match pool {
            NodePool::Rate => self.settings().rate.used(now.tick),
            NodePool::Export => self.resources.watermark.used(Side::Plain),
            NodePool::Webrtc => self.resources.watermark.used(Side::Webrtc),
            NodePool::Type(number) => self.resources.types.used(number),
        }
    }

    /// What was asked of a pool since the start. Locks each shard in turn, for a few loads.
    #[must_use]
    pub fn pool_offered(&self, pool: NodePool) -> OfferedTotal {
        let mut total = OfferedTotal::default();
        for number in 0..self.shards() {
            let Some(shard) = self.shard(number) else { break };
            let offered = shard.tally.offered(pool);
            total.attempts += offered.attempts;
            total.refused += offered.refused;
        }
        total
    }

    /// A pool's limit now; `None` if it isn't limited.
    #[must_use]
    pub fn pool_limit(&self, pool: NodePool, now: Now) -> Option<u32> {
        let settings = self.settings();
        let policy = &settings.policy;
        self.resources.settle(&settings, now.tick);
        match pool {
            NodePool::Rate => policy.rate.map(|_| settings.rate.limit(now.tick)),
            NodePool::Export => policy.export_control.map(|_| self.resources.watermark.mark().view().limit),
            NodePool::Webrtc => policy.export_control.and_then(|_| self.resources.watermark.mark().view().webrtc_limit),
            NodePool::Type(number) => self.resources.types.limit(number, now.tick),
        }
    }

    /// Whether a pool is limited at all by the policy in force.
    #[must_use]
    pub fn pool_is_limited(&self, pool: NodePool) -> bool {
        self.pool_cap(pool).is_some()
    }

    /// The policy's count of a pool; `None` if it isn't limited.
    #[must_use]
    pub fn pool_cap(&self, pool: NodePool) -> Option<u32> {
        cap(&self.settings().policy, pool)
    }

    /// The pool of a license type's name.
    #[must_use]
    pub fn pool_of_type(&self, name: &str) -> Option<NodePool> {
        self.resources.types.number(name.as_bytes()).map(NodePool::Type)
    }

    /// Sets a shared pool's limit at once, within the policy's cap: a raise, or a forced lowering. Drops no call.
    pub fn set_lease(&self, pool: NodePool, lease: Lease, now: Now) {
        let mut loans = self.loans.lock();
        if let Some(own) = loans.leases.get_mut(pool.index()) {
            *own = Some(lease);
        }
        let settings = self.settings();
        self.put(pool, &settings, &loans, now.tick);
    }

    /// Lowers a shared pool's limit, if no more than that is in use, forced units apart; check and change are one step. Under a
    /// cap that is lower still, if no more than the cap is in use.
    ///
    /// # Errors
    /// If more is in use. Nothing changed.
    pub fn try_lower_lease(&self, pool: NodePool, lease: Lease, now: Now) -> Result<(), InUse> {
        let mut loans = self.loans.lock();
        let settings = self.settings();
        let tick = now.tick;
        match (pool, cap(&settings.policy, pool)) {
            // Not limited: what is admitted isn't held back by what is lent.
            (_, None) => {}
            (NodePool::Rate, Some(cap)) => settings.rate.try_lower(lease.at_most(cap), tick)?,
            (NodePool::Export, Some(cap)) => {
                self.resources.watermark.try_lower(Side::Plain, lease.at_most(cap), tick)?;
            }
            (NodePool::Webrtc, Some(cap)) => {
                self.resources.watermark.try_lower(Side::Webrtc, lease.at_most(cap), tick)?;
            }
            (NodePool::Type(number), Some(cap)) => {
                self.resources.types.try_lower(number, lease.at_most(cap), tick)?;
            }
        }
        if let Some(own) = loans.leases.get_mut(pool.index()) {
            *own = Some(lease);
        }
        Ok(())
    }

    /// Whether the cluster has none of a shared pool to spare. Of export control's sessions that decides whether reaching the limit
    /// closes the gate until use has fallen by a hundredth; for others it changes nothing.
    pub fn set_scarce(&self, pool: NodePool, scarce: bool, now: Now) {
        if pool != NodePool::Export {
            return;
        }
        let mut loans = self.loans.lock();
        loans.scarce = scarce;
        self.resources.watermark.set_latch(loans.latch(), now.tick);
    }

    fn put(&self, pool: NodePool, settings: &Settings, loans: &Loans, now: Tick) {
        match pool {
            NodePool::Rate => {
                if let Some(cap) = settings.policy.rate {
                    settings.rate.stretch(now);
                    settings.rate.set(loans.under(pool, cap.get()), now);
                }
            }
            NodePool::Export | NodePool::Webrtc => {
                let (plain, webrtc) = export_leases(settings.policy.export_control.as_ref(), loans);
                self.resources.watermark.set_all(plain, webrtc, loans.latch(), now);
            }
            NodePool::Type(number) => {
                if let Some(cap) = cap(&settings.policy, pool) {
                    self.resources.types.set(number, loans.under(pool, cap), now);
                }
            }
        }
    }
}

/// A policy's count of a pool; `None`: not limited, or there is no such pool.
fn cap(policy: &Policy, pool: NodePool) -> Option<u32> {
    match pool {
        NodePool::Rate => policy.rate.map(|rate| rate.get()),
        NodePool::Export => {
            policy.export_control.map(|export| if export.webrtc { export.limit_with_webrtc } else { export.limit })
        }
        NodePool::Webrtc => policy.export_control.filter(|export| export.webrtc).map(|export| export.webrtc_limit),
        NodePool::Type(number) => policy.license_types.get(usize::from(number)).and_then(|of_type| of_type.count),
    }
}
