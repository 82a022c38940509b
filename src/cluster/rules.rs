//! Switches that remove a rule, for the tests that prove that the simulator notices.

/// A rule of lending that a law rests upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Units that come back from a rate loan rest for a window before they are used again.
    Limbo,
    /// The window is a whole second by any clock within the error.
    FullWindow,
    /// A lender lowers what is out only when the borrower saw its newest word (L2).
    SeenNewest,
    /// A loan's term is counted from the request, not from the answer's arrival.
    AnchoredTerm,
    /// After a restart budgeted units rest until every loan of the earlier life has ended (S1).
    RestartQuarantine,
    /// A forced lowering isn't reported before the usage has cooled (B3).
    ReportUncooled,
    /// Admissions check the end of the loans themselves (N1).
    ValidUntil,
    /// An adoption is taken once (B8).
    AdoptOnce,
    /// Words of a lender are compared by incarnation first (B1).
    IncarnationFirst,
    /// Sessions that come home are used only when the lower loan is durable (L2).
    HomeWhenDurable,
    /// What is spare is lent. (Not a matter of safety: a node that never lends is safe, and of no use.)
    Lends,
    /// A new trustee waits for the trusteeship before it to have ended (10-L).
    TrusteeWaits,
    /// Who heard a node lets nobody keep what it left before its self-lease has ended by any clock, and a window (10-H).
    SelfLeaseWaits,
}

/// Which rules are in force: all, outside of such tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    removed: Option<Rule>,
}

impl Rules {
    /// All but one.
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { removed: Some(rule) }
    }

    /// Whether a rule is in force.
    #[must_use]
    pub fn has(&self, rule: Rule) -> bool {
        self.removed != Some(rule)
    }
}
