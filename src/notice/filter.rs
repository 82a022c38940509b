//! Who wants which notices.

use serde::{Deserialize, Serialize};

use super::{Change, Level, Notice};

macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a notice is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Category {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Category {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Their names, in that order.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

categories! {
    /// Licensing of a sidecar.
    License = "license",
    /// Limits and tables of a sidecar.
    Admission = "admission",
    /// The journal of calls.
    Journal = "journal",
    /// Files of state.
    Storage = "storage",
    /// Wall clocks.
    Clock = "clock",
    /// The configuration.
    Configuration = "configuration",
    /// Peers.
    Cluster = "cluster",
    /// What happened that is no alarm: starts, drains, reloads, what operators did.
    Operation = "operation",
    /// What was bought and what is used, at the manager.
    Pool = "pool",
    /// Product instances, at the manager.
    Instance = "instance",
    /// Satellites, at the manager.
    Satellite = "satellite",
    /// Reservations.
    Reservation = "reservation",
    /// Every line of the manager's audit log.
    Audit = "audit",
}

impl Category {
    /// Whether one gets it without asking for it: alarms and alerts, not the daily business.
    #[must_use]
    pub const fn is_usual(self) -> bool {
        !matches!(self, Self::Operation | Self::Audit)
    }
}

/// Which notices somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The mildest that is told.
    pub level: Level,
    /// About what; empty: whatever [is usual](Category::is_usual).
    pub categories: Vec<Category>,
}

impl Filter {
    /// Whether this one. A test always is. One that was cleared is told to whom it was told when it was raised.
    #[must_use]
    pub fn takes(&self, notice: &Notice) -> bool {
        if notice.change == Change::Test {
            return true;
        }
        let about = if self.categories.is_empty() {
            notice.category.is_usual()
        } else {
            self.categories.contains(&notice.category)
        };
        about && notice.level >= self.level
    }
}
