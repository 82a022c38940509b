//! What is asked of the engine, and what it answers.

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The revision of its last change.
    pub revision: i64,
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The lease that it lives by; `None`: it stays.
    pub lease: Option<i64>,
}

/// All of it, if every compared key is at its revision (0: it isn't there); else nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// Keys, and the revisions that they must be at.
    pub compare: Vec<(String, i64)>,
    /// Written then.
    pub put: Vec<Put>,
    /// Deleted then.
    pub delete: Vec<String>,
    /// Read in either case. Where nothing was written, the compared keys are read as well.
    pub read: Vec<String>,
}

/// Something to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A new lease of so many seconds.
    Grant {
        /// Seconds.
        ttl_s: u32,
    },
    /// A transaction.
    Txn(Txn),
    /// The first keys with a prefix, behind a key.
    List {
        /// The prefix.
        prefix: String,
        /// Only keys behind this one; empty: from the first on.
        after: String,
        /// So many at most.
        most: u32,
    },
}

/// A request. One is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number, which its answer names.
    pub number: u64,
    /// What is asked.
    pub op: Op,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A lease was granted.
    Granted {
        /// Its number.
        lease: i64,
        /// Its term in seconds: etcd may give more than was asked for.
        ttl_s: u32,
    },
    /// A transaction was carried out, or found that it may not.
    Txn {
        /// Every compared key was at its revision: it is written.
        won: bool,
        /// The engine's revision: that of what was written.
        revision: i64,
        /// What was read. A key that isn't named isn't there.
        entries: Vec<Entry>,
    },
    /// Keys in their order.
    Listed {
        /// The engine's revision.
        revision: i64,
        /// The keys.
        entries: Vec<Entry>,
    },
    /// No answer, or an error: nobody knows whether it was carried out, or still will be.
    Failed,
}
