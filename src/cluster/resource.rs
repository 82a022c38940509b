//! What can be lent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::CALLS_PER_SECOND_PER_LICENSE;

/// How a unit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One admission in any window of one second. A license holds five units.
    Rate,
    /// One live session. A license holds one unit.
    Session,
}

impl Kind {
    /// Units in one license: what moves between nodes moves in whole licenses.
    #[must_use]
    pub const fn units_per_license(self) -> u32 {
        match self {
            Self::Rate => CALLS_PER_SECOND_PER_LICENSE,
            Self::Session => 1,
        }
    }
}

/// How exact its limit is under faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Capped by law: never one above, whatever is lost or cut off. Lent sessions come back only when their borrower says
    /// so, or is fenced.
    Hard,
    /// Bought: exact as well, but that a lender may reclaim sessions from a borrower long silent, and declares what that may
    /// exceed before it does.
    License,
}

/// A resource as all nodes call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceId {
    /// The license type's name (`cps`, `session`, `export`).
    pub name: Arc<str>,
    /// How a unit of it is used.
    pub kind: Kind,
    /// How exact its limit is under faults.
    pub class: Class,
}

/// A resource's place in this node's list: its pool's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceIndex(pub usize);

/// A resource as this node is set up to share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name, kind and class.
    pub id: ResourceId,
    /// The highest limit that this host may have, in units, whatever it borrows; `None` if there is none.
    pub limit_max: Option<u32>,
    /// Units inside the limit that are kept for priority calls and never lent.
    pub headroom: u32,
}

/// A count of whole licenses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Licenses(pub u32);

impl Licenses {
    /// None.
    pub const ZERO: Self = Self(0);

    /// So many licenses as cover `units`.
    #[must_use]
    pub const fn covering(units: u32, kind: Kind) -> Self {
        Self(units.div_ceil(kind.units_per_license()))
    }

    /// So many whole licenses as lie within `units`.
    #[must_use]
    pub const fn within(units: u32, kind: Kind) -> Self {
        Self(units / kind.units_per_license())
    }

    /// The units that they hold.
    #[must_use]
    pub const fn units(self, kind: Kind) -> u32 {
        self.0.saturating_mul(kind.units_per_license())
    }

    /// Together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left; none if `other` is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
