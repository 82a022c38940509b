//! A node whose ledger is new: its home units wait for the census.

use std::collections::BTreeSet;

use super::{Cluster, Fencing, View};
use crate::cluster::action::{Action, Event};
use crate::cluster::fence::Fence;
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::ledger::Record;
use crate::cluster::pools::Pools;
use crate::cluster::resource::{Licenses, ResourceId};
use crate::units::Tick;

impl Cluster {
    /// Call it right after [`new`](Self::new) when the ledger was made just now: until every configured member has said what
    /// it holds of this node, or [`release_fence`](Self::release_fence), its home units count for nothing.
    pub fn fence(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.configured.is_empty() || self.fencing.is_some() {
            return;
        }
        self.engine.record(Record::Fenced { open: true });
        self.fencing = Some(Fencing::Asking(Fence::new(now)));
        self.own.begin_anew();
        self.set_beside(now, pools);
        self.engine.flush(now);
    }

    /// The licensing backend says that no grant of an earlier ledger of this node is in force. Who hasn't answered the census
    /// counts as holding the most that one peer is lent.
    pub fn release_fence(&mut self, now: Tick, pools: &mut dyn Pools) {
        if let Some(Fencing::Asking(fence)) = &mut self.fencing {
            fence.release();
        }
        self.step_fence(now, pools);
        self.engine.flush(now);
    }

    /// The members whose answer to the census is missing; `None` if none is under way.
    #[must_use]
    pub fn fenced_by(&self) -> Option<BTreeSet<NodeName>> {
        match &self.fencing {
            None => None,
            Some(Fencing::Asking(fence)) => Some(fence.missing(&self.configured)),
            Some(Fencing::Raising(..) | Fencing::Rebuilt(_)) => Some(BTreeSet::new()),
        }
    }

    pub(super) fn step_fence(&mut self, now: Tick, pools: &mut dyn Pools) {
        match self.fencing.take() {
            None => {}
            Some(Fencing::Asking(mut fence)) => {
                if fence.is_over(&self.configured) {
                    let inc =
                        self.engine.inc().max(Incarnation(fence.inc_seen().0.saturating_add(self.boots.0.max(1))));
                    let base = Incarnation(inc.0.saturating_sub(self.boots.0));
                    let batch = self.engine.record(Record::IncarnationBase { base });
                    self.fencing = Some(Fencing::Raising(fence, batch, inc));
                    return;
                }
                let view = view!(self, now);
                let out = fence.step(&view);
                self.fencing = Some(Fencing::Asking(fence));
                self.carry_out(out, now, pools);
            }
            Some(Fencing::Raising(fence, batch, inc)) => {
                if !self.engine.is_durable(batch) {
                    self.fencing = Some(Fencing::Raising(fence, batch, inc));
                    return;
                }
                self.engine.raise_inc(inc, now, pools);
                self.presence.raise_inc(inc, now);
                for peer in self.connected.clone() {
                    self.presence.handle_connected(&peer, now);
                }
                let lives = &self.presence;
                let inc_of = |peer: &NodeName| lives.life_of(peer).map_or(Incarnation(0), |(_, inc)| inc);
                let configured = &self.configured;
                let held = |peer: &NodeName, id: &ResourceId| {
                    if configured.contains(peer) { fence.held(peer, id) } else { Some(Licenses::ZERO) }
                };
                self.engine.rebuild(held, inc_of, now, pools);
                let batch = self.engine.record(Record::Fenced { open: false });
                self.fencing = Some(Fencing::Rebuilt(batch));
                self.take_news(now, pools);
            }
            Some(Fencing::Rebuilt(batch)) => {
                if !self.engine.is_durable(batch) {
                    self.fencing = Some(Fencing::Rebuilt(batch));
                    return;
                }
                self.engine.act(Action::Tell(Event::CensusOver));
                self.set_beside(now, pools);
            }
        }
    }
}
