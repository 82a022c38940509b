//! The home count changes by a grant: up once it is durable, down in two phases.
//!
//! A smaller count holds at once for new calls and new loans. What is lent beyond it is recalled; the old count stays on disk
//! until nobody uses more than the new one. Then that is made durable, and only then acknowledged: the licensing backend gives
//! the difference to nobody before (demarcation order).

use super::super::action::{Action, Event};
use super::super::engine::{Cx, HomeGrant};
use super::super::ledger::Record;
use super::super::resource::Licenses;
use super::{Home, LICENSES_MAX, Share};

impl Share {
    /// The home count by a grant.
    pub(in crate::cluster) fn on_grant(&mut self, grant: HomeGrant, cx: &mut Cx<'_>) {
        let newest = self.shrink.or(self.home_raise.map(|(_, home)| home)).unwrap_or(self.home);
        let bounded = grant.home <= LICENSES_MAX && grant.fixed_share <= LICENSES_MAX;
        if grant.epoch < newest.epoch || !bounded {
            cx.outbox.tell(Event::GrantIgnored { resource: self.of.id.clone(), epoch: grant.epoch });
            return;
        }
        let home = Home {
            epoch: grant.epoch,
            count: grant.home,
            fixed_share: grant.fixed_share.min(grant.home),
            not_after: grant.not_after,
            lapsed: grant.not_after.is_some_and(|at| at <= cx.now),
        };
        let same = home.epoch == newest.epoch && home.count == newest.count && home.fixed_share == newest.fixed_share;
        if same {
            // Only when it lapses is new.
            match (&mut self.shrink, &mut self.home_raise) {
                (Some(shrink), _) => *shrink = home,
                (None, Some((_, raise))) => *raise = home,
                (None, None) => self.home = home,
            }
            if self.shrink.is_some() {
                (self.home.not_after, self.home.lapsed) = (home.not_after, home.lapsed);
            }
            self.apply(cx);
            if self.shrink.is_none() && self.home_raise.is_none() && self.acknowledged.is_none() {
                // An earlier life may have ended before it could say so.
                self.acknowledge_when_given_up(home, cx);
            }
            return;
        }
        if home.count < self.home.count {
            self.home_raise = None;
            self.shrink = Some(home);
            (self.home.not_after, self.home.lapsed) = (home.not_after, home.lapsed);
            self.apply(cx);
            self.recall_beyond_home(cx);
            return self.settle_shrink(cx);
        }
        self.shrink = None;
        self.raise(home, cx);
        // Should a smaller one have been under way: what was held before holds again.
        self.apply(cx);
    }

    fn raise(&mut self, home: Home, cx: &mut Cx<'_>) {
        let batch = cx.record(Record::Home {
            resource: self.of.id.clone(),
            epoch: home.epoch,
            home: home.count,
            fixed_share: home.fixed_share,
        });
        self.home_raise = Some((batch, home));
    }

    /// Whether nobody uses more than the smaller count: then it becomes durable, and is acknowledged.
    pub(in crate::cluster) fn settle_shrink(&mut self, cx: &mut Cx<'_>) {
        if let Some(home) = self.unacknowledged {
            self.acknowledge_when_given_up(home, cx);
        }
        let Some(home) = self.shrink else { return };
        if self.is_given_up_beyond(home.count, cx) && self.home_raise.is_none() {
            self.raise(home, cx);
        }
    }

    /// Whether nothing beyond that count is lent, at rest or in use. What is lent beyond is recalled.
    fn is_given_up_beyond(&mut self, count: Licenses, cx: &mut Cx<'_>) -> bool {
        let given = self.sums.out + self.sums.limbo;
        // What others may keep of this node isn't there to be given back before they say that they don't (10-H).
        let spare = self.beside.spare.unwrap_or_default();
        let left = u64::from(count.less(spare).0).checked_sub(given);
        let Some(left) = left.filter(|_| spare <= count) else {
            self.recall_beyond_home(cx);
            return false;
        };
        let used = cx.pools.used(self.index, cx.now);
        let ordinary = used.used.saturating_sub(used.forced);
        let own = ordinary.saturating_sub(self.units(self.sums.held + u64::from(self.beside.leased.0)));
        self.units(left) >= own
    }

    /// A new home count is durable.
    pub(in crate::cluster) fn home_durable(&mut self, home: Home, cx: &mut Cx<'_>) {
        let _ = self.shrink.take_if(|shrink| shrink.epoch == home.epoch && shrink.count == home.count);
        self.home = home;
        self.apply(cx);
        self.acknowledge_when_given_up(home, cx);
        self.serve_wanting(cx);
    }

    /// Each epoch is acknowledged, also one that raises the count that is known here: a smaller one may never have come
    /// after a larger that never came either, and the backend waits for its answer. Not while a census is under way: what an
    /// earlier ledger lent isn't known.
    fn acknowledge_when_given_up(&mut self, home: Home, cx: &mut Cx<'_>) {
        self.unacknowledged = Some(home);
        if self.home_raise.is_some() || self.beside.fenced || !self.is_given_up_beyond(home.count, cx) {
            return;
        }
        self.unacknowledged = None;
        self.acknowledged = Some(home.epoch);
        let (resource, epoch, effective) = (self.of.id.clone(), home.epoch, home.count);
        cx.outbox.push(Action::GrantAck { resource, epoch, effective });
    }

    /// What was granted, lapsed or not, a smaller count under way counted already.
    pub(super) const fn count_now(&self) -> Licenses {
        match self.shrink {
            Some(shrink) if shrink.count.0 < self.home.count.0 => shrink.count,
            Some(_) | None => self.home.count,
        }
    }

    /// The home count by the grant, a smaller one under way counted already.
    pub(super) const fn granted(&self) -> Licenses {
        let effective = self.home.effective();
        match self.shrink {
            Some(shrink) if shrink.count.0 < effective.0 => shrink.count,
            Some(_) | None => effective,
        }
    }
}
