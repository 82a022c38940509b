//! Lost peers and what is kept of them, as messages and time have it (10-L): `retention` decides, here it is carried out.

use std::collections::BTreeMap;

use super::{Cluster, Fencing};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::message::{Census, Counted, Message, Released};
use crate::cluster::params::Retention;
use crate::cluster::pools::Pools;
use crate::cluster::resource::{Licenses, ResourceId};
use crate::cluster::retention::{Out, View};
use crate::units::Tick;

impl Cluster {
    pub(super) fn step_retention(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.retained.due().is_some_and(|due| due > now) && !self.retained.keeps_something() {
            return self.step_withheld(now, pools);
        }
        let resources = self.engine.resources();
        let view = view!(self, now);
        let presence = &self.presence;
        let homes = |peer: &NodeName| -> BTreeMap<ResourceId, Licenses> {
            let home = |id: &ResourceId| presence.last_hint(peer, id).map(|of| (id.clone(), of.home));
            resources.iter().filter_map(home).collect()
        };
        let out = self.retained.step(&view, &|peer| presence.silent_since(peer), &homes);
        self.carry_out(out, now, pools);
        self.set_beside(now, pools);
        if self.retained.keeps_something() {
            let beyond: BTreeMap<ResourceId, Licenses> = self.engine.beyond_home(now, pools).into_iter().collect();
            let out = self.retained.give_up(now, &|id| beyond.get(id).copied().unwrap_or_default());
            self.carry_out(out, now, pools);
        }
        let lost: Vec<(NodeName, bool)> = {
            let view = view!(self, now);
            self.retained.lost().map(|peer| (peer.clone(), self.retained.keeps_loans_of(peer, &view))).collect()
        };
        if self.engine.params().retention != Retention::Off {
            for (peer, keep) in lost {
                self.engine.hold_on(&peer, keep, now, pools);
            }
        }
        self.step_withheld(now, pools);
    }

    pub(super) fn step_withheld(&mut self, now: Tick, pools: &mut dyn Pools) {
        let view = view!(self, now);
        let out = self.withheld.step(self.engine.inc(), &view);
        self.carry_out(out, now, pools);
    }

    /// Whether this node's hard units rest on beats.
    pub(super) fn beats(&self) -> bool {
        (self.engine.params().self_lease || self.own.names(None)) && !self.configured.is_empty()
    }

    /// This node's own floors and beats (10-H). Under a fence it has nothing, and says nothing.
    pub(super) fn step_self_lease(&mut self, now: Tick, pools: &mut dyn Pools) {
        if !self.beats() || self.fencing.is_some() {
            return;
        }
        let uses = self.engine.own_uses(now, pools);
        let (inc, params, rules) = (self.engine.inc(), self.engine.params().clone(), self.engine.rules().clone());
        let view = View {
            now,
            wall: self.wall,
            node: &self.node,
            inc,
            configured: &self.configured,
            reachable: &self.reachable,
            params: &params,
            rules: &rules,
        };
        let engine = &mut self.engine;
        let mut hold_back = |id: &ResourceId, spare: Licenses| engine.hold_back(id, spare, now, pools);
        let out = self.own.step(&uses, inc, &view, &mut hold_back);
        self.carry_out(out, now, pools);
        self.set_beside(now, pools);
    }

    /// A message about lost peers or a census, from a peer or this node itself.
    pub(super) fn take(&mut self, from: &NodeName, message: Message, now: Tick, pools: &mut dyn Pools) {
        let view = view!(self, now);
        let out = match message {
            Message::Ballot(ballot) => self.voter.on_ballot(from, &ballot, &view),
            Message::Vote(vote) => self.retained.on_vote(from, &vote, &view),
            Message::Counted(counted) => {
                if counted.about == self.node {
                    if let Some(Fencing::Asking(fence)) = &mut self.fencing {
                        fence.on_counted(from, &counted, &view);
                    }
                    Vec::new()
                } else {
                    self.retained.on_counted(from, &counted, &view)
                }
            }
            Message::Census(census) => self.count(from, &census, now, pools),
            Message::Release(release) => {
                let mut out = self.retained.release(from);
                let kept = self.retained.kept_of(from).into_iter().collect();
                out.push(Out::Send(from.clone(), Message::Released(Released { anchor: release.anchor, kept })));
                out
            }
            Message::Released(released) => {
                self.withheld.on_released(from, &released, &view);
                self.own.on_released(from, &released, &view);
                Vec::new()
            }
            Message::Beat(beat) => self.voter.on_beat(from, &beat, &view),
            Message::BeatAck(ack) => {
                self.own.on_ack(from, &ack, self.engine.inc(), &view);
                Vec::new()
            }
            Message::Hello(_) | Message::Req(_) | Message::Lend(_) | Message::Adopt(_) | Message::Leave(_) => {
                Vec::new()
            }
        };
        self.carry_out(out, now, pools);
        self.set_beside(now, pools);
        self.step_fence(now, pools);
    }

    /// What this node holds of another, kept licenses included. Asked by that node itself, whose ledger is new: what its
    /// earlier ledger said counts no more from here on.
    pub(super) fn count(&mut self, from: &NodeName, census: &Census, now: Tick, pools: &mut dyn Pools) -> Vec<Out> {
        let mut inc_seen = self.engine.inc_seen(&census.about);
        if census.about == *from {
            let over = self.presence.life_of(from).is_some_and(|(_, inc)| census.inc < inc);
            if over {
                // Its answer would be thrown away, and a later life be waited for that never begins.
                return Vec::new();
            }
            // Asked again before the answer was there: the same answer, since only the first that comes counts.
            match self.censuses.get(from) {
                Some((anchor, answered)) if *anchor == census.anchor => inc_seen = *answered,
                Some(_) | None => drop(self.censuses.insert(from.clone(), (census.anchor, inc_seen))),
            }
            let after = Incarnation(inc_seen.0.saturating_add(1));
            self.engine.lender_replaced(from, after, now, pools);
        }
        let mut held: BTreeMap<ResourceId, Licenses> =
            self.engine.held_of(&census.about, now, pools).into_iter().collect();
        let kept = self.retained.kept_of(&census.about);
        for (resource, kept) in &kept {
            let sum = held.entry(resource.clone()).or_default();
            *sum = sum.plus(*kept);
        }
        let counted = Counted {
            about: census.about.clone(),
            anchor: census.anchor,
            inc_seen,
            held: held.into_iter().collect(),
            kept: kept.into_iter().collect(),
        };
        let message = Message::Counted(counted);
        vec![if *from == self.node { Out::ToSelf(message) } else { Out::Send(from.clone(), message) }]
    }

    /// The operator says that a node is gone for good: what was lent to it is home again (declared, for sessions), nothing is
    /// kept of it, and who comes under its name is new.
    pub fn forget(&mut self, node: &NodeName, now: Tick, pools: &mut dyn Pools) {
        let out = [self.retained.forget(node), self.voter.forget(node)].concat();
        self.carry_out(out, now, pools);
        self.withheld.forget(node);
        self.own.forget(node);
        if let Some(Fencing::Asking(fence)) = &mut self.fencing {
            fence.forget(node);
        }
        self.engine.forget(node, now, pools);
        self.presence.forget(node);
        self.leaving.remove(node);
        self.engine.set_refused(node, true);
        if self.connected.contains(node) {
            // It is there after all, and asked who it is.
            self.presence.handle_connected(node, now);
            self.take_simple_news(now);
        }
        self.set_beside(now, pools);
        self.step_fence(now, pools);
        self.engine.flush(now);
    }
}
