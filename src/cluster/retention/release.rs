//! A node that was lost, or may have been, asks each member for what is kept of it, and does without that until it is given
//! up.

use std::collections::{BTreeMap, BTreeSet};

use super::{Out, View};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::message::{Anchor, Message, Release, Released};
use crate::cluster::resource::{Licenses, ResourceId};
use crate::units::Tick;

/// What isn't given up is asked for again so often, in milliseconds.
const AGAIN_MS: u64 = 1000;

/// What members keep of this node.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Withheld {
    /// By whom, with the newest answer.
    by: BTreeMap<NodeName, BTreeMap<ResourceId, Licenses>>,
    unsettled: BTreeSet<NodeName>,
    asked: Option<Tick>,
}

impl Withheld {
    /// A connection came up: what happened meanwhile is not known.
    pub(in crate::cluster) fn connected(&mut self, peer: &NodeName, inc: Incarnation, view: &View<'_>) -> Vec<Out> {
        if !view.configured.contains(peer) {
            return Vec::new();
        }
        self.unsettled.insert(peer.clone());
        vec![Self::ask(peer, inc, view)]
    }

    fn ask(peer: &NodeName, inc: Incarnation, view: &View<'_>) -> Out {
        Out::Send(peer.clone(), Message::Release(Release { inc, anchor: Anchor(view.now.0) }))
    }

    /// Asks again whoever hasn't given up everything.
    pub(in crate::cluster) fn step(&mut self, inc: Incarnation, view: &View<'_>) -> Vec<Out> {
        if self.asked.is_some_and(|asked| view.now < asked.plus_millis(AGAIN_MS)) {
            return Vec::new();
        }
        self.asked = Some(view.now);
        self.unsettled.iter().map(|peer| Self::ask(peer, inc, view)).collect()
    }

    /// When [`step`](Self::step) is due.
    pub(in crate::cluster) fn due(&self) -> Option<Tick> {
        if self.unsettled.is_empty() {
            None
        } else {
            Some(self.asked.map_or(Tick(0), |asked| asked.plus_millis(AGAIN_MS)))
        }
    }

    /// What a member still keeps. An answer from the future of this clock is none of this life's.
    pub(in crate::cluster) fn on_released(&mut self, from: &NodeName, released: &Released, view: &View<'_>) {
        if !self.unsettled.contains(from) || released.anchor.0 > view.now.0 {
            return;
        }
        let kept: BTreeMap<ResourceId, Licenses> =
            released.kept.iter().filter(|(_, kept)| *kept > Licenses::ZERO).cloned().collect();
        if kept.is_empty() {
            self.unsettled.remove(from);
            self.by.remove(from);
        } else {
            self.by.insert(from.clone(), kept);
        }
    }

    /// What is kept of a resource, by all.
    pub(in crate::cluster) fn of(&self, resource: &ResourceId) -> Licenses {
        self.by.values().filter_map(|kept| kept.get(resource).copied()).fold(Licenses::ZERO, Licenses::plus)
    }

    /// The operator forgot a member: what it kept is this node's again.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName) {
        self.by.remove(peer);
        self.unsettled.remove(peer);
    }
}
