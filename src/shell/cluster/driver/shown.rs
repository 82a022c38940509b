//! What people see and ask of the driver: its status, and their commands.

use super::task::Driver;
use crate::cluster::{Licenses, LoanView, NodeName, ShareView};
use crate::shell::cluster::handle::ClusterRefused;
use crate::shell::cluster::status::{ClusterStatus, Member, Share};
use crate::shell::cluster::transport::PeerState;
use crate::shell::context::Context;
use crate::units::{NANOS_PER_SECOND, Now, Tick};

impl Driver {
    pub(super) fn status(&mut self, context: &Context, now: Now) -> ClusterStatus {
        let peers = self.transport.peers();
        let members = peers.into_iter().map(|peer| self.member(peer, now.tick)).collect();
        self.tally.figures.transport = self.transport.figures();
        let view = self.cluster.view(now.tick, &mut *self.pools);
        let census = self.cluster.fenced_by();
        ClusterStatus {
            node: self.setup.node.as_str().to_owned(),
            listen: self.transport.address().map_or_else(String::new, |address| address.to_string()),
            ledger: format!("{:032x}", view.ledger.0),
            incarnation: view.inc.0,
            draining: context.cluster.is_draining(),
            drained: self.cluster.is_drained(),
            census_waits_for: census.map(|missing| missing.iter().map(|of| of.as_str().to_owned()).collect()),
            ledger_failing: view.ledger_failing,
            certificate_expires: self.transport.certificate_ends(),
            members,
            resources: view.resources.into_iter().zip(self.homes.counts()).map(share).collect(),
            as_of: context.clock.wall(),
            figures: self.tally.figures.clone(),
        }
    }

    fn member(&mut self, peer: PeerState, now: Tick) -> Member {
        let connected = peer.connected_to.is_some();
        // Never heard of: it has been away since this driver first looked.
        let (_, since) = *self.since.entry(peer.name.clone()).or_insert((false, now));
        let since = peer.since.unwrap_or(since);
        let for_s = now.nanos_since(since) / NANOS_PER_SECOND;
        let lost = for_s.saturating_mul(1000) >= u64::from(self.setup.params.lost_after_ms);
        Member {
            name: peer.name.as_str().to_owned(),
            address: peer.address,
            state: match (connected, lost) {
                (true, _) => "connected",
                (false, false) => "disconnected",
                (false, true) => "lost",
            },
            for_s,
            incarnation: self.tally.incarnation(&peer.name).map(|inc| inc.0),
            connected_to: peer.connected_to.map(|address| address.to_string()),
            round_trip_us: peer.round_trip.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            certificate_expires: peer.certificate_ends,
            failure: peer.failure,
            refused: self.cluster.refusal(&peer.name).map(crate::cluster::Refused::label),
        }
    }

    /// Takes no part any more, or takes part again; says what happens now.
    pub(super) fn drain(&mut self, context: &Context, draining: bool) -> String {
        let now = context.clock.tick();
        context.cluster.set_draining(draining);
        if !draining {
            self.cluster.undrain(now, &mut *self.pools);
            return "This node lends and borrows again.".to_owned();
        }
        let before = self.cluster.view(now, &mut *self.pools);
        let sum = |of: fn(&ShareView) -> &[LoanView]| -> u32 {
            before.resources.iter().flat_map(of).map(|loan| loan.licenses.0).sum()
        };
        let (lent, borrowed) = (sum(|of| &of.lent), sum(|of| &of.borrowed));
        self.cluster.drain(now, &mut *self.pools);
        format!(
            "This node lends and borrows nothing any more: {borrowed} borrowed licenses go back, {lent} lent ones are wanted \
             back. Calls go on being decided by its own licenses. `callgate cluster members` says when it is drained; until \
             then others may hold licenses of it. A restart of the sidecar takes part again."
        )
    }

    /// Gives up what is kept of a member that is gone for good; says what that did.
    pub(super) fn forget(&mut self, context: &Context, node: &NodeName) -> Result<String, ClusterRefused> {
        if !self.setup.peers.iter().any(|(name, _)| name == node) {
            let known: Vec<&str> = self.setup.peers.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!("{node} is no member; known are {}", known.join(", "));
            return Err(ClusterRefused::Refused(text));
        }
        let now = context.clock.tick();
        if self.transport.peers().iter().any(|peer| peer.name == *node && peer.connected_to.is_some()) {
            let text = format!("{node} is connected: a member that runs is drained and stopped, not forgotten");
            return Err(ClusterRefused::Refused(text));
        }
        let before = self.cluster.view(now, &mut *self.pools);
        let with = |loans: &[LoanView]| -> u32 {
            loans.iter().filter(|loan| loan.peer == *node).map(|loan| loan.licenses.0).sum()
        };
        let lent: u32 = before.resources.iter().map(|of| with(&of.lent)).sum();
        let borrowed: u32 = before.resources.iter().map(|of| with(&of.borrowed)).sum();
        self.cluster.forget(node, now, &mut *self.pools);
        Ok(format!(
            "{node} is forgotten: {lent} licenses lent to it are this node's again (calls per second after they have rested; \
             sessions at once, and declared as possible overshoot), {borrowed} borrowed of it are given up. Should it come \
             back, it is taken for a new member. Take it out of cluster.peers, and forget it at the other members too."
        ))
    }
}

/// A loan's other side, and how much.
fn by_peer(loans: &[LoanView], of: fn(&LoanView) -> Licenses) -> std::collections::BTreeMap<String, Licenses> {
    let some = loans.iter().filter(|loan| of(loan) != Licenses::ZERO);
    some.map(|loan| (loan.peer.as_str().to_owned(), of(loan))).collect()
}

fn share((view, granted): (ShareView, Licenses)) -> Share {
    Share {
        resource: view.resource.name.to_string(),
        kind: view.resource.kind,
        class: view.resource.class,
        granted,
        home: view.home,
        limit_units: view.limit,
        used_units: view.used,
        offered_per_second: view.offered_per_second,
        starving: view.starving,
        limbo: view.limbo,
        limbo_ends_in_ms: view.limbo_ends_in_ms,
        lent: by_peer(&view.lent, |loan| loan.licenses),
        recalled: by_peer(&view.lent, |loan| loan.recalled),
        reclaimed: by_peer(&view.lent, |loan| loan.reclaimed),
        borrowed: by_peer(&view.borrowed, |loan| loan.licenses),
    }
}
