//! What this node told its peers last, and what was counted: the figures of `/v1/cluster`.

use std::collections::BTreeMap;

use crate::cluster::{Incarnation, Lend, Licenses, Message, NodeName, Req, ResourceId};
use crate::shell::cluster::status::ClusterFigures;

/// This node's newest words.
#[derive(Debug, Default)]
pub(super) struct Tally {
    lent: BTreeMap<(ResourceId, NodeName), Licenses>,
    borrowed: BTreeMap<(ResourceId, NodeName), Licenses>,
    incarnations: BTreeMap<NodeName, Incarnation>,
    pub(super) figures: ClusterFigures,
}

impl Tally {
    /// A message is sent.
    pub(super) fn sent(&mut self, to: &NodeName, message: &Message) {
        match message {
            Message::Lend(Lend { resource, k, .. }) => put(&mut self.lent, resource, to, *k),
            Message::Req(Req { resource, hold, .. }) => put(&mut self.borrowed, resource, to, *hold),
            Message::Hello(_)
            | Message::Adopt(_)
            | Message::Leave(_)
            | Message::Census(_)
            | Message::Counted(_)
            | Message::Ballot(_)
            | Message::Vote(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::Beat(_)
            | Message::BeatAck(_) => {}
        }
    }

    /// A message came.
    pub(super) fn received(&mut self, from: &NodeName, message: &Message) {
        if let Message::Hello(hello) = message {
            self.incarnations.insert(from.clone(), hello.inc);
        }
    }

    pub(super) fn lent(&self, resource: &ResourceId) -> BTreeMap<String, Licenses> {
        of(&self.lent, resource)
    }

    pub(super) fn borrowed(&self, resource: &ResourceId) -> BTreeMap<String, Licenses> {
        of(&self.borrowed, resource)
    }

    /// Members that greeted this node, and which life of theirs it was.
    pub(super) fn incarnation(&self, node: &NodeName) -> Option<Incarnation> {
        self.incarnations.get(node).copied()
    }
}

type Words = BTreeMap<(ResourceId, NodeName), Licenses>;

fn put(words: &mut Words, resource: &ResourceId, node: &NodeName, count: Licenses) {
    let key = (resource.clone(), node.clone());
    if count == Licenses::ZERO {
        words.remove(&key);
    } else {
        words.insert(key, count);
    }
}

fn of(words: &Words, resource: &ResourceId) -> BTreeMap<String, Licenses> {
    let all = words.iter().filter(|((of, _), _)| of == resource);
    all.map(|((_, node), count)| (node.as_str().to_owned(), *count)).collect()
}
