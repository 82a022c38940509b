//! Rows 43 and 50 to 55: samples, tolerance, reports.

use super::action::{AlarmKind, AlarmLevel, UsageNow};
use super::core::Agent;
use super::enforcement;
use super::requests::Purpose;
use super::state::{Authorization, Requested};
use super::timers::plus_s;
use crate::license::ports::DailyCount;
use crate::license::usage::tolerance::ToleranceEvent;
use crate::license::usage::{Closed, SAMPLE_S};
use crate::units::{Now, UnixMillis};

impl Agent {
    /// Takes what is used. Call it once a second.
    pub fn observe(&mut self, usage: &[UsageNow], now: Now) {
        self.advance(now);
        let at = self.clock.now();
        for UsageNow { type_name, current, peak, next } in usage {
            let tag = self.setup.requested.iter().find(|requested| requested.type_name == *type_name);
            if let Some(requested) = tag {
                self.usage.observe(&requested.tag, *current, *peak, at);
                self.usage.count_next(&requested.tag, *next);
            }
        }
        if self.state.authorization == Authorization::None
            && enforcement::is_registered(&self.state)
            && !self.asks_nothing()
        {
            // Row 43: the first use.
            self.event(|agent| agent.request_changed());
        }
    }

    /// Takes what is lent to other members of the cluster and borrowed of them, in units, by license type. Call it after
    /// [`observe`](Self::observe).
    pub fn observe_loans(&mut self, loans: &[(String, u32, u32)]) {
        for (type_name, lent, borrowed) in loans {
            if let Some(requested) = self.setup.requested.iter().find(|requested| requested.type_name == *type_name) {
                self.usage.count_loans(&requested.tag, *lent, *borrowed);
            }
        }
    }

    /// Takes the count of the day, to be kept with what is used.
    pub const fn count_capacity(&mut self, count: DailyCount) {
        self.usage.capacity = Some(count);
    }

    /// Rows 50, 51, 54.
    pub(super) fn sample(&mut self) {
        let now = self.clock.now();
        self.close_sample();
        let regular = self.state.deadlines.sample_due.map(|due| plus_s(due, SAMPLE_S));
        self.state.deadlines.sample_due = Some(regular.filter(|due| *due > now).unwrap_or(plus_s(now, SAMPLE_S)));
    }

    fn close_sample(&mut self) {
        let now = self.clock.now();
        let closed = self.usage.sample(now);
        // What was borrowed is another member's grant.
        let own = |closed: &Closed| closed.peak.saturating_sub(closed.borrowed);
        let peak = |tag: &str| closed.iter().find(|closed| closed.tag == tag).map_or(0, own);
        let over = self.state.authorization == Authorization::Authorized && self.is_over(peak);
        let event = self.tolerance.sample(&self.setup.profile.ooc, over, now);
        self.tolerated(event);
    }

    /// Rows 51 and 56: of each type, or of each tier and those above it, more is used than was granted.
    fn is_over(&self, peak: impl Fn(&str) -> u32) -> bool {
        let licensed = || self.setup.requested.iter().filter(|of| self.is_licensed(of));
        licensed().any(|requested| {
            let serves = |of: &&Requested| match (&requested.tier, &of.tier) {
                (Some(tier), Some(other)) => other.family == tier.family && other.rank >= tier.rank,
                _ => of.tag == requested.tag,
            };
            let (used, granted) = licensed().filter(serves).fold((0_u64, 0_u64), |(used, granted), of| {
                let own = enforcement::granted_units(&self.state, of);
                (used.saturating_add(peak(&of.tag).into()), granted.saturating_add(own.into()))
            });
            used > granted
        })
    }

    /// Rows 52, 53.
    pub(super) fn tolerate(&mut self) {
        let event = self.tolerance.handle_timeout(&self.setup.profile.ooc, self.clock.now());
        self.tolerated(event);
    }

    fn tolerated(&mut self, event: Option<ToleranceEvent>) {
        self.state.deadlines.over_use_since = self.tolerance.over_use_since();
        let since = self.state.deadlines.over_use_since.unwrap_or(self.clock.now());
        match event {
            None => {}
            Some(ToleranceEvent::Pending) => self.over_use(AlarmKind::OocPending, since, "more is used than granted"),
            Some(ToleranceEvent::Imminent) => {
                self.over_use(
                    AlarmKind::OocImminent,
                    since,
                    "more is used than granted, for more than the warning time",
                );
            }
            Some(ToleranceEvent::Breach) => {
                self.over_use(AlarmKind::Ooc, since, "more is used than granted, for longer than is tolerated");
                self.send_report();
            }
            Some(ToleranceEvent::Cleared) => {
                self.unstand(AlarmKind::OocPending);
                self.unstand(AlarmKind::OocImminent);
                if self.state.authorization != Authorization::OutOfCompliance {
                    self.unstand(AlarmKind::Ooc);
                }
            }
        }
    }

    fn over_use(&mut self, kind: AlarmKind, since: UnixMillis, what: &str) {
        self.stand_since(kind, what.to_owned(), since);
        self.notice("over_use", AlarmLevel::Warning, what.to_owned());
    }

    /// Row 55.
    pub(super) fn report(&mut self) {
        self.close_sample();
        self.send_report();
    }

    fn send_report(&mut self) {
        // The one on its way was made before this.
        self.report_owed = self.is_sent(Purpose::Report);
        if !self.report_owed && enforcement::is_registered(&self.state) {
            self.send(Purpose::Report);
        }
    }
}
