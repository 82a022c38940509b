//! What the simulator looks at to check the invariants. Nothing else may need it.

use super::super::ids::{Incarnation, NodeName, Seq};
use super::super::resource::{Licenses, ResourceIndex};
use super::Engine;
use crate::units::Tick;

/// A node's view of one peer.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairView {
    /// Lent to it.
    pub out: Licenses,
    /// The newest word about that.
    pub k: Licenses,
    /// Its number.
    pub seq: Seq,
    /// The newest incarnation seen of it as a borrower.
    pub binc: Incarnation,
    /// Reclaimed from it, and not settled.
    pub reclaimed: Licenses,
    /// Borrowed from it.
    pub hold: Licenses,
    /// When that ends by this node's clock, if it does.
    pub ends: Option<Tick>,
    /// Its newest word that was seen.
    pub seen: Seq,
    /// The newest incarnation seen of it as a lender.
    pub linc: Incarnation,
}

/// A node's sums over all peers, in licenses.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SumsView {
    /// What counts as home.
    pub home: u64,
    /// Lent.
    pub out: u64,
    /// At rest.
    pub limbo: u64,
    /// Borrowed.
    pub held: u64,
}

impl Engine {
    /// What it thinks of a peer.
    #[doc(hidden)]
    #[must_use]
    pub fn inspect_pair(&self, resource: ResourceIndex, peer: &NodeName) -> PairView {
        let (Some(share), Some(peer)) = (self.shares.get(resource.0), self.peers.find(peer)) else {
            return PairView::default();
        };
        let (lent, held) = (&share.lent[peer.0], &share.held[peer.0]);
        PairView {
            out: lent.out,
            k: lent.k,
            seq: lent.seq,
            binc: lent.binc,
            reclaimed: lent.reclaimed,
            hold: held.hold,
            ends: held.ends,
            seen: held.seen,
            linc: held.linc,
        }
    }

    /// What it thinks of all peers together.
    #[doc(hidden)]
    #[must_use]
    pub fn inspect_sums(&self, resource: ResourceIndex) -> SumsView {
        let Some(share) = self.shares.get(resource.0) else { return SumsView::default() };
        SumsView {
            home: u64::from(share.home.effective().0),
            out: share.sums.out,
            limbo: share.sums.limbo,
            held: share.sums.held,
        }
    }
}
