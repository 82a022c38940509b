//! The other nodes that this one knows, each with a number.

use std::collections::BTreeMap;

use crate::cluster::ids::{Incarnation, LedgerId, NodeName};

/// The most peers that a node knows.
pub(in crate::cluster) const PEERS_MAX: usize = 4096;

/// A peer's number in this process: its place in every list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cluster) struct PeerIndex(pub(in crate::cluster) usize);

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Peer {
    pub(in crate::cluster) name: NodeName,
    /// Whether its connection is known to be gone. What only repeats itself waits until it is back.
    pub(in crate::cluster) down: bool,
    /// Nothing is asked of it: it isn't believed, or leaves.
    pub(in crate::cluster) refused: bool,
    /// Its ledger, as it said last.
    pub(in crate::cluster) ledger: Option<LedgerId>,
    /// The newest incarnation that it was heard to have.
    pub(in crate::cluster) inc: Incarnation,
}

/// All peers. A peer is never removed: what is lent to it must not be forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Peers {
    list: Vec<Peer>,
    by_name: BTreeMap<NodeName, PeerIndex>,
}

impl Peers {
    /// The number of a peer, a new one if need be; `None` if there is no room for more.
    pub(in crate::cluster) fn add(&mut self, name: &NodeName) -> Option<PeerIndex> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        if self.list.len() >= PEERS_MAX {
            return None;
        }
        let index = PeerIndex(self.list.len());
        self.list.push(Peer { name: name.clone(), down: false, refused: false, ledger: None, inc: Incarnation(0) });
        self.by_name.insert(name.clone(), index);
        Some(index)
    }

    pub(in crate::cluster) fn find(&self, name: &NodeName) -> Option<PeerIndex> {
        self.by_name.get(name).copied()
    }

    pub(in crate::cluster) fn name(&self, peer: PeerIndex) -> &NodeName {
        &self.list[peer.0].name
    }

    pub(in crate::cluster) fn get(&self, peer: PeerIndex) -> &Peer {
        &self.list[peer.0]
    }

    pub(in crate::cluster) fn get_mut(&mut self, peer: PeerIndex) -> &mut Peer {
        &mut self.list[peer.0]
    }

    pub(in crate::cluster) fn len(&self) -> usize {
        self.list.len()
    }

    pub(in crate::cluster) fn all(&self) -> impl Iterator<Item = PeerIndex> + use<> {
        (0..self.list.len()).map(PeerIndex)
    }
}
