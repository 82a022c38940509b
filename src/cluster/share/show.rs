//! A share as people see it.

use super::super::engine::{Cx, PeerIndex};
use super::super::resource::Licenses;
use super::super::view::{LoanView, ShareView};
use super::Share;
use crate::units::Tick;

fn millis(later: Tick, earlier: Tick) -> u64 {
    later.nanos_since(earlier) / 1_000_000
}

impl Share {
    pub(in crate::cluster) fn view(&self, cx: &Cx<'_>) -> ShareView {
        let lent = self.lent.iter().enumerate().filter_map(|(place, lent)| {
            let shown = lent.out != Licenses::ZERO || lent.reclaimed != Licenses::ZERO;
            shown.then(|| LoanView {
                peer: Self::name(PeerIndex(place), cx),
                licenses: lent.out,
                recalled: lent.recalled(),
                reclaimed: lent.reclaimed,
                lasts_ms: lent.since.map(|since| millis(cx.now, since)),
                ends_in_ms: lent.ends.map(|ends| millis(ends, cx.now)),
            })
        });
        let borrowed = self.held.iter().enumerate().filter(|(_, held)| held.hold != Licenses::ZERO);
        let borrowed = borrowed.map(|(place, held)| LoanView {
            peer: Self::name(PeerIndex(place), cx),
            licenses: held.hold,
            recalled: Licenses::ZERO,
            reclaimed: Licenses::ZERO,
            lasts_ms: held.since.map(|since| millis(cx.now, since)),
            ends_in_ms: held.ends.map(|ends| millis(ends, cx.now)),
        });
        ShareView {
            resource: self.of.id.clone(),
            epoch: self.home.epoch,
            home: self.home_now(),
            limit: self.limit(),
            used: cx.pools.used(self.index, cx.now).used,
            offered_per_second: self.demand.per_second(),
            starving: self.demand.is_starving(),
            limbo: Licenses(u32::try_from(self.sums.limbo).unwrap_or(u32::MAX)),
            limbo_ends_in_ms: self.limbo.keys().next_back().map(|until| millis(*until, cx.now)),
            lent: lent.collect(),
            borrowed: borrowed.collect(),
        }
    }
}
