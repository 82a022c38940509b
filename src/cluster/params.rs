//! The cluster's parameters, each with its unit and default. `[cluster]` sets them; the simulator found them.

use serde::{Deserialize, Serialize};

use crate::units::NANOS_PER_SECOND;

/// Parameters of lending, borrowing and gossip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// How wrong the rate of a node's clock may be, in parts per million, steal and slew included.
    pub clock_error_ppm: u32,
    /// How often work that nothing triggers is done, in milliseconds.
    pub tick_ms: u32,
    /// How often hints are gossiped, in milliseconds.
    pub gossip_period_ms: u32,
    /// Up to so many nodes, hints go to all.
    pub mesh_nodes_max: u32,
    /// Beyond, hints go to so many nodes at a time.
    pub gossip_fanout: u32,
    /// The term of a loan of calls per second, in milliseconds.
    pub rate_term_ms: u32,
    /// The term of a loan of sessions of the license class, in milliseconds. Hard sessions have none.
    pub session_term_ms: u32,
    /// A loan is renewed when less than this part of its term is left, in percent.
    pub renew_below_percent: u32,
    /// The time constant of the demand estimate, in milliseconds.
    pub demand_tau_ms: u32,
    /// Borrowed ahead: the demand of so long a time, in milliseconds; about a round trip and a tick.
    pub borrow_ahead_ms: u32,
    /// Standard deviations of the demand that are borrowed ahead for sessions.
    pub session_deviations: u32,
    /// While a peer starves, a reserve is at most this part of a node's fair share (by demand) of what is free anywhere, in
    /// percent; otherwise twice that.
    pub scarce_reserve_percent: u32,
    /// So many reserves are kept before anything is returned, in percent.
    pub return_above_percent: u32,
    /// The most peers that are asked at once.
    pub asked_max: u32,
    /// The same in clusters of more than 20 nodes.
    pub asked_max_large: u32,
    /// A peer is asked at most so often, in milliseconds.
    pub ask_interval_ms: u32,
    /// When nobody is known to have units: how often some are asked all the same, in milliseconds.
    pub blind_interval_ms: u32,
    /// What was asked for and not there is remembered for so long, in milliseconds.
    pub pending_ms: u32,
    /// A node that refuses calls recalls what it lent after so long without a free unit, in milliseconds.
    pub recall_after_ms: u32,
    /// A recall is repeated so often, in milliseconds.
    pub recall_interval_ms: u32,
    /// What isn't acknowledged yet of lent sessions is repeated so often, in milliseconds.
    pub repeat_interval_ms: u32,
    /// The most that one peer is lent, in percent of home. All of it, unless set: with half of it, ten nodes of which one has
    /// nine tenths of the load would admit 0.55 of what they hold.
    pub max_lend_percent: u32,
    /// The time after a silent borrower's lease until its sessions of the license class may be reclaimed, in milliseconds.
    pub reclaim_grace_ms: u32,
    /// A peer that can't be reached for so long is lost, in milliseconds.
    pub lost_after_ms: u32,
    /// Licenses of a lost peer are kept for so long, in milliseconds.
    pub retention_ms: u64,
    /// Whether licenses of a lost peer are kept, and by whom.
    pub retention: Retention,
    /// The term of a trusteeship over a lost peer's licenses, in milliseconds; it is voted for anew before.
    pub trustee_term_ms: u32,
    /// Hard resources: a node uses what lies above its floor only while a majority of the configured members hears it, so that
    /// the majority may keep that when it is lost. The same on every member.
    pub self_lease: bool,
    /// A member that heard a node lets it use that for so long, in milliseconds, from when the node spoke.
    pub self_lease_ms: u32,
    /// The floor is kept so far above what is in use and lent, in percent of home.
    pub self_lease_ahead_percent: u32,
    /// The longest list of members; who comes on top is left out, with an alarm.
    pub members_max: u32,
}

/// Whether session licenses of a lost peer are kept in use (class license; calls per second never are).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// They are out of use until it is back.
    #[default]
    Off,
    /// The first node of each side keeps them: at most (sides - 1) times what it left too many, audited.
    Any,
    /// A node keeps them that a majority of the configured members voted for: at most what it left too many, audited.
    Quorum,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            clock_error_ppm: 1000,
            tick_ms: 20,
            gossip_period_ms: 100,
            mesh_nodes_max: 20,
            gossip_fanout: 3,
            rate_term_ms: 2000,
            session_term_ms: 60_000,
            renew_below_percent: 40,
            demand_tau_ms: 200,
            borrow_ahead_ms: 60,
            session_deviations: 2,
            scarce_reserve_percent: 30,
            return_above_percent: 150,
            asked_max: 8,
            asked_max_large: 16,
            ask_interval_ms: 20,
            blind_interval_ms: 60,
            pending_ms: 150,
            recall_after_ms: 100,
            recall_interval_ms: 100,
            repeat_interval_ms: 1000,
            max_lend_percent: 100,
            reclaim_grace_ms: 60_000,
            lost_after_ms: 30_000,
            retention_ms: 14 * 24 * 3_600_000,
            retention: Retention::Off,
            trustee_term_ms: 60_000,
            self_lease: false,
            self_lease_ms: 5000,
            self_lease_ahead_percent: 25,
            members_max: 2048,
        }
    }
}

impl Parameters {
    /// The local window: one second by any clock within the error, in nanoseconds, rounded up.
    #[must_use]
    pub fn window_nanos(&self) -> u64 {
        NANOS_PER_SECOND + 2 * 1000 * u64::from(self.clock_error_ppm)
    }

    /// How long a member that heard a node counts the node's self-lease, and the calls of its last window, in nanoseconds:
    /// longer than the node's own clock can.
    #[must_use]
    pub fn self_lease_nanos(&self) -> u64 {
        self.lender_term_nanos(self.self_lease_ms).saturating_add(self.window_nanos())
    }

    /// As much of a time by another's clock as surely passes by this one's, in milliseconds.
    #[must_use]
    pub fn surely_ms(&self, ms: u64) -> u64 {
        let lost = u128::from(ms) * 2 * u128::from(self.clock_error_ppm) / 1_000_000 + 1;
        ms.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX))
    }

    /// How long a lender counts a loan of `term_ms` as held, in nanoseconds from the moment before it is sent: longer than
    /// any borrower's clock can count it from its request.
    #[must_use]
    pub fn lender_term_nanos(&self, term_ms: u32) -> u64 {
        let error = u64::from(self.clock_error_ppm);
        let term = u64::from(term_ms).saturating_mul(1_000_000);
        let stretched = u128::from(term) * u128::from(1_000_000 + error) / u128::from(1_000_000 - error.min(500_000));
        u64::try_from(stretched).unwrap_or(u64::MAX).saturating_add(2_000_000)
    }
}
