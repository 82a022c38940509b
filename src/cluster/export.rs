//! Export control over the whole cluster: one node's part in the latch (section 12 of the design: 2500 and 2475). PURE.
//!
//! Each node latches for itself: when its limit is reached and nobody has anything to spare, or when everybody together is at
//! the cap. It opens again below its own low mark. An empty pool alone must not latch: what is borrowed comes in small pieces,
//! and would be out of use each time. The low mark of a node is `limit - ceil(limit / 100)`; rounded down, ten nodes of 250
//! would open at 2480 together.
//!
//! Where it stops: it counts nothing and moves nothing. With WebRTC switched on there are two resources, each with a latch.

/// The cap of everything, and of WebRTC apart from it, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportCaps {
    /// Calls and registrations.
    pub general: u32,
    /// WebRTC sessions of their own; 0 where WebRTC is off.
    pub webrtc: u32,
}

impl ExportCaps {
    /// The caps for a limit of `limit` units: with WebRTC, 256 of them are kept for it.
    #[must_use]
    pub const fn of(limit: u32, webrtc: bool) -> Self {
        /// What is kept for WebRTC sessions.
        const WEBRTC: u32 = 256;
        if webrtc {
            Self { general: limit.saturating_sub(WEBRTC), webrtc: if limit < WEBRTC { limit } else { WEBRTC } }
        } else {
            Self { general: limit, webrtc: 0 }
        }
    }
}

/// What a node sees of a hard resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportView {
    /// In use here.
    pub used: u32,
    /// The limit here, what is borrowed included.
    pub limit: u32,
    /// A peer answered a request with less than was wanted, and none is known to have anything to spare.
    pub none_spare: bool,
    /// In use at all nodes together, by their hints.
    pub used_by_all: u64,
    /// The cap of all nodes together.
    pub cap: u64,
}

/// An alarm level of the cluster's use, by hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportLevel {
    /// Below 90 percent.
    Normal,
    /// From 90 percent of the cap on.
    Ninety,
    /// The cap is reached.
    Full,
}

/// How full the cluster is.
#[must_use]
pub const fn export_level(used_by_all: u64, cap: u64) -> ExportLevel {
    if used_by_all >= cap {
        ExportLevel::Full
    } else if used_by_all >= cap.saturating_sub(cap / 10) {
        ExportLevel::Ninety
    } else {
        ExportLevel::Normal
    }
}

/// One node's latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportLatch {
    latched: bool,
}

/// `ceil(limit / 100)`.
const fn margin(limit: u32) -> u32 {
    limit.div_ceil(100)
}

impl ExportLatch {
    /// Whether new calls are refused.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        self.latched
    }

    /// Below so many it opens again.
    #[must_use]
    pub const fn low_mark(limit: u32) -> u32 {
        limit.saturating_sub(margin(limit))
    }

    /// Looks; returns whether it is latched now.
    pub const fn look(&mut self, view: &ExportView) -> bool {
        if self.latched {
            // With nothing in use it opens, also where the low mark of so small a limit is 0.
            self.latched = view.used > 0 && view.used >= Self::low_mark(view.limit) && view.limit > 0;
        } else {
            let full = view.used >= view.limit && view.limit > 0;
            self.latched = full && (view.none_spare || view.used_by_all >= view.cap);
        }
        self.latched
    }

    /// So much is to be wanted in all while latched, that the node can open again though all of it is in use; `None`: what
    /// demand says.
    #[must_use]
    pub const fn wanted(self, used: u32, limit: u32) -> Option<u32> {
        if self.latched { Some(used.saturating_add(margin(limit)).saturating_add(1)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn view(used: u32, limit: u32, none_spare: bool, used_by_all: u64) -> ExportView {
        ExportView { used, limit, none_spare, used_by_all, cap: 2500 }
    }

    #[test]
    fn an_empty_pool_alone_does_not_latch() {
        let mut latch = ExportLatch::default();
        assert!(!latch.look(&view(250, 250, false, 1000)));
        assert!(latch.look(&view(250, 250, true, 1000)), "but when nobody has anything to spare it does");
    }

    #[test]
    fn it_latches_when_all_together_are_at_the_cap() {
        let mut latch = ExportLatch::default();
        assert!(!latch.look(&view(249, 250, false, 2500)), "this node's limit is to be reached too");
        assert!(latch.look(&view(250, 250, false, 2500)));
    }

    #[test]
    fn it_opens_below_the_low_mark_and_not_at_it() {
        let mut latch = ExportLatch::default();
        latch.look(&view(250, 250, true, 2500));
        assert!(latch.look(&view(247, 250, false, 2000)));
        assert!(!latch.look(&view(246, 250, false, 2000)));
        assert!(!latch.look(&view(249, 250, false, 2000)), "and stays open until the limit is reached again");
    }

    #[test]
    fn the_low_marks_of_all_nodes_together_stay_at_or_below_the_clusters() {
        for nodes in 1..=100_u32 {
            let (share, rest) = (2500 / nodes, 2500 % nodes);
            let low: u32 = (0..nodes).map(|node| ExportLatch::low_mark(share + u32::from(node < rest))).sum();
            assert!(low <= 2475, "{nodes} nodes: {low}");
        }
        assert_eq!(ExportLatch::low_mark(2500), 2475, "one node: as node scope has it");
        assert_eq!(ExportLatch::low_mark(2244), 2221, "one below node scope's 2222: rounded the safe way");
    }

    #[test]
    fn a_latched_node_wants_enough_to_open_again() {
        let mut latch = ExportLatch::default();
        assert_eq!(latch.wanted(250, 250), None);
        latch.look(&view(250, 250, true, 2500));
        let wanted = latch.wanted(250, 250).unwrap();
        assert_eq!(wanted, 254);
        assert!(!latch.look(&view(250, wanted, false, 2400)), "with that limit it opens");
    }

    #[test]
    fn a_node_without_units_is_not_latched_for_ever() {
        let mut latch = ExportLatch::default();
        assert!(!latch.look(&view(0, 0, true, 2500)));
        latch.look(&view(10, 10, true, 2500));
        assert!(!latch.look(&view(0, 0, true, 2500)));
    }

    #[test]
    fn a_node_with_one_unit_opens_when_that_is_free() {
        let mut latch = ExportLatch::default();
        assert!(latch.look(&view(1, 1, true, 2500)));
        assert!(!latch.look(&view(0, 1, true, 2500)));
    }

    #[test]
    fn webrtc_takes_256_of_the_limit_for_itself() {
        assert_eq!(ExportCaps::of(2500, true), ExportCaps { general: 2244, webrtc: 256 });
        assert_eq!(ExportCaps::of(2500, false), ExportCaps { general: 2500, webrtc: 0 });
        assert_eq!(ExportCaps::of(100, true), ExportCaps { general: 0, webrtc: 100 });
    }

    #[test]
    fn alarms_come_at_ninety_percent_and_at_the_cap() {
        assert_eq!(export_level(2249, 2500), ExportLevel::Normal);
        assert_eq!(export_level(2250, 2500), ExportLevel::Ninety);
        assert_eq!(export_level(2499, 2500), ExportLevel::Ninety);
        assert_eq!(export_level(2500, 2500), ExportLevel::Full);
    }
}
