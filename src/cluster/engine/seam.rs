//! What the rest of the cluster asks of lending: who may be lent to, what is beside the grants, what is held of whom.

use super::super::action::Action;
use super::super::ids::{Incarnation, LedgerId, NodeName};
use super::super::ledger::Record;
use super::super::message::HintOf;
use super::super::params::Parameters;
use super::super::pools::Pools;
use super::super::resource::{Class, Kind, Licenses, ResourceId, ResourceIndex};
use super::super::rules::Rules;
use super::super::share::{Beside, OwnUse};
use super::{BatchNo, Cx, Engine, PeerIndex, Share};
use crate::units::Tick;

impl Engine {
    fn with<R>(&mut self, now: Tick, pools: &mut dyn Pools, each: impl FnMut(&mut Share, &mut Cx<'_>) -> R) -> Vec<R> {
        let mut each = each;
        let mut results = Vec::with_capacity(self.shares.len());
        for share in &mut self.shares {
            let cx = &mut Cx {
                now,
                env: &self.env,
                peers: &self.peers,
                journal: &mut self.journal,
                outbox: &mut self.outbox,
                pools: &mut *pools,
            };
            results.push(each(share, cx));
        }
        results
    }

    pub(in crate::cluster) const fn params(&self) -> &Parameters {
        &self.env.params
    }

    pub(in crate::cluster) const fn rules(&self) -> &Rules {
        &self.env.rules
    }

    /// Who is there says its hints as well: the engine says none.
    pub(in crate::cluster) const fn leave_gossip_to_presence(&mut self) {
        self.gossip_at = Tick(u64::MAX);
    }

    /// A peer said who it is, and is believed.
    pub(in crate::cluster) fn greeted(
        &mut self,
        peer: &NodeName,
        ledger: LedgerId,
        inc: Incarnation,
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        if let Some(peer) = self.peers.find(peer) {
            self.greeted_by(peer, ledger, inc, now, pools);
        }
    }

    /// What is shared.
    pub(in crate::cluster) fn resources(&self) -> Vec<ResourceId> {
        self.shares.iter().map(|share| share.of.id.clone()).collect()
    }

    /// Nothing is asked of a refused peer; what it says is kept from the engine by its caller.
    pub(in crate::cluster) fn set_refused(&mut self, peer: &NodeName, refused: bool) {
        if let Some(index) = self.peers.find(peer) {
            self.peers.get_mut(index).refused = refused;
        }
    }

    /// A node that wasn't configured is a member: it may be lent to.
    pub(in crate::cluster) fn add_peer(&mut self, peer: &NodeName, now: Tick) {
        if *peer == self.env.node || self.peers.add(peer).is_none() {
            return;
        }
        let count = self.peers.len();
        self.hints.resize(count, (0, 0));
        for share in &mut self.shares {
            share.add_peers(count, now);
        }
    }

    /// What this node says of itself.
    pub(in crate::cluster) fn own_hints(&mut self, now: Tick, pools: &mut dyn Pools) -> Vec<HintOf> {
        self.with(now, pools, |share, cx| share.hint(cx))
    }

    /// Records a fact that isn't of lending; returns the batch with which it is durable.
    pub(in crate::cluster) fn record(&mut self, record: Record) -> BatchNo {
        self.journal.push(record)
    }

    pub(in crate::cluster) const fn is_durable(&self, batch: BatchNo) -> bool {
        self.journal.is_durable(batch)
    }

    pub(in crate::cluster) fn act(&mut self, action: Action) {
        self.outbox.push(action);
    }

    /// Asks for what was recorded to be written.
    pub(in crate::cluster) fn flush(&mut self, now: Tick) {
        self.journal.flush(&mut self.outbox, now);
    }

    /// Raises this life's incarnation: to others a new life begins.
    pub(in crate::cluster) fn raise_inc(&mut self, inc: Incarnation, now: Tick, pools: &mut dyn Pools) {
        if inc > self.env.inc {
            self.env.inc = inc;
            self.with(now, pools, |share, cx| share.life_raised(cx));
        }
    }

    pub(in crate::cluster) const fn inc(&self) -> Incarnation {
        self.env.inc
    }

    /// What the self-lease looks at, of each hard resource that is granted.
    pub(in crate::cluster) fn own_uses(&mut self, now: Tick, pools: &mut dyn Pools) -> Vec<OwnUse> {
        let mut uses = self.with(now, pools, |share, cx| share.own_use(cx));
        uses.retain(|own| own.id.class == Class::Hard && own.count > Licenses::ZERO);
        uses
    }

    /// The floor of a resource is lowered. `false` if what is in use is in the way.
    pub(in crate::cluster) fn hold_back(
        &mut self,
        resource: &ResourceId,
        spare: Licenses,
        now: Tick,
        pools: &mut dyn Pools,
    ) -> bool {
        let done = self.with(now, pools, |share, cx| share.of.id == *resource && share.hold_back(spare, cx));
        done.contains(&true)
    }

    /// Sets what is beside the grant of each resource.
    pub(in crate::cluster) fn set_beside(
        &mut self,
        of: impl Fn(&ResourceId) -> Beside,
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        self.with(now, pools, |share, cx| {
            let beside = of(&share.of.id);
            share.set_beside(beside, cx);
        });
    }

    /// What is in use or lent beyond home, of each resource.
    pub(in crate::cluster) fn beyond_home(&mut self, now: Tick, pools: &mut dyn Pools) -> Vec<(ResourceId, Licenses)> {
        self.with(now, pools, |share, cx| (share.of.id.clone(), share.beyond_home(cx)))
    }

    /// What is held of a peer, of each resource of which something is.
    pub(in crate::cluster) fn held_of(
        &mut self,
        peer: &NodeName,
        now: Tick,
        pools: &mut dyn Pools,
    ) -> Vec<(ResourceId, Licenses)> {
        let Some(peer) = self.peers.find(peer) else { return Vec::new() };
        let mut held = self.with(now, pools, |share, cx| (share.of.id.clone(), share.held_of(peer, cx)));
        held.retain(|(_, count)| *count > Licenses::ZERO);
        held
    }

    /// The highest incarnation seen of a peer.
    pub(in crate::cluster) fn inc_seen(&self, peer: &NodeName) -> Incarnation {
        let Some(peer) = self.peers.find(peer) else { return Incarnation(0) };
        let shares = self.shares.iter().map(|share| share.inc_seen(peer)).max().unwrap_or_default();
        shares.max(self.peers.get(peer).inc)
    }

    /// A peer's name has a new ledger.
    pub(in crate::cluster) fn lender_replaced(
        &mut self,
        peer: &NodeName,
        after: Incarnation,
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        let Some(peer) = self.peers.find(peer) else { return };
        self.with(now, pools, |share, cx| share.lender_replaced(peer, after, cx));
    }

    /// A peer's name has a new ledger, as it says itself.
    pub(in crate::cluster) fn ledger_replaced(
        &mut self,
        peer: &NodeName,
        inc: Incarnation,
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        let Some(peer) = self.peers.find(peer) else { return };
        self.with(now, pools, |share, cx| share.ledger_replaced(peer, inc, cx));
    }

    /// The loans of an earlier ledger, from the answers of those who hold them.
    pub(in crate::cluster) fn rebuild(
        &mut self,
        held: impl Fn(&NodeName, &ResourceId) -> Option<Licenses>,
        inc: impl Fn(&NodeName) -> Incarnation,
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        let peers: Vec<(PeerIndex, NodeName)> =
            self.peers.all().map(|peer| (peer, self.peers.name(peer).clone())).collect();
        self.with(now, pools, |share, cx| {
            for (peer, name) in &peers {
                let answer = held(name, &share.of.id);
                share.rebuild(*peer, answer, inc(name), cx);
            }
        });
    }

    /// What is borrowed ahead of a resource, in units.
    pub(in crate::cluster) fn reserve(&mut self, resource: ResourceIndex, now: Tick, pools: &mut dyn Pools) -> u32 {
        let cx = &Cx {
            now,
            env: &self.env,
            peers: &self.peers,
            journal: &mut self.journal,
            outbox: &mut self.outbox,
            pools,
        };
        self.shares.get(resource.0).map_or(0, |share| share.lending_reserve(cx))
    }

    /// The home count by the grant, and what is lent of it.
    pub(in crate::cluster) fn home_and_lent(&self, resource: ResourceIndex) -> Option<(Kind, Licenses, Licenses)> {
        let share = self.shares.get(resource.0)?;
        let lent = Licenses(u32::try_from(share.sums.out).unwrap_or(u32::MAX));
        Some((share.kind(), share.home.effective(), lent))
    }

    /// What export control looks at: the limit, and whether nobody has anything to spare.
    pub(in crate::cluster) fn scarcity(&self, resource: ResourceIndex) -> Option<(&ResourceId, u32, bool)> {
        let share = self.shares.get(resource.0)?;
        Some((&share.of.id, share.limit(), share.none_spare()))
    }

    /// So much of a resource is to be wanted in all, whatever demand says.
    pub(in crate::cluster) fn set_wanted_min(&mut self, resource: ResourceIndex, units: u32) {
        if let Some(share) = self.shares.get_mut(resource.0) {
            share.set_wanted_min(units);
        }
    }

    /// Begins or ends a drain.
    pub(in crate::cluster) fn set_closed(&mut self, closed: bool, now: Tick, pools: &mut dyn Pools) {
        self.with(now, pools, |share, cx| if closed { share.close(cx) } else { share.open_again() });
    }

    /// Nothing is lent and nothing held.
    pub(in crate::cluster) fn is_returned(&mut self, now: Tick, pools: &mut dyn Pools) -> bool {
        self.with(now, pools, |share, cx| share.is_returned(cx)).into_iter().all(|returned| returned)
    }

    /// A lender is lost: what it lent stays in use, or no longer does.
    pub(in crate::cluster) fn hold_on(&mut self, peer: &NodeName, keep: bool, now: Tick, pools: &mut dyn Pools) {
        let Some(peer) = self.peers.find(peer) else { return };
        self.with(now, pools, |share, cx| share.hold_on(peer, keep, cx));
    }

    /// The operator says that a peer is gone for good.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName, now: Tick, pools: &mut dyn Pools) {
        let Some(peer) = self.peers.find(peer) else { return };
        self.with(now, pools, |share, cx| share.forget(peer, cx));
    }
}
