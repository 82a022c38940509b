//! What was counted, and what peers said of themselves: figures of `/v1/cluster` beside the core's own view.

use std::collections::BTreeMap;

use crate::cluster::{Incarnation, Message, NodeName};
use crate::shell::cluster::status::ClusterFigures;

/// Figures of a driver.
#[derive(Debug, Default)]
pub(super) struct Tally {
    incarnations: BTreeMap<NodeName, Incarnation>,
    pub(super) figures: ClusterFigures,
}

impl Tally {
    /// A message came.
    pub(super) fn received(&mut self, from: &NodeName, message: &Message) {
        if let Message::Hello(hello) = message {
            self.incarnations.insert(from.clone(), hello.inc);
        }
    }

    /// Members that greeted this node, and which life of theirs it was.
    pub(super) fn incarnation(&self, node: &NodeName) -> Option<Incarnation> {
        self.incarnations.get(node).copied()
    }
}
