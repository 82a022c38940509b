//! Keys and values, as an operator reads them with `etcdctl get --prefix`.
//!
//! | key | value | lives |
//! |---|---|---|
//! | `book/RESOURCE` | the sums: of all homes, of all chunks, of what homes still have to give up | for good |
//! | `home/RESOURCE/NODE` | what a node brought in | until it takes it out, or is forgotten |
//! | `hold/RESOURCE/HOLDER` | a chunk: what somebody holds | until it is given back, or reaped |
//! | `live/NODE@LIFE` | a process is alive | by its newest lease |
//! | `gone/RESOURCE/NODE` | what a forgotten node may still use | for good: for the audit |
//!
//! A holder of calls per second is one life of a node; of sessions it is the node itself, because calls outlive a restart.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::ids::{LedgerId, NodeName};
use super::super::resource::{Class, Kind, Licenses, ResourceId};

/// The sums over a resource, in licenses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Book {
    /// Of all homes.
    pub(super) homes: u64,
    /// Of all chunks. Never more than `homes`.
    pub(super) taken: u64,
    /// Of what homes are to give up and haven't yet, because it was taken.
    pub(super) owed: u64,
    /// Of what nodes ask back that hold less than they brought in.
    #[serde(default)]
    pub(super) claimed: u64,
}

impl Book {
    /// In no chunk.
    pub(super) const fn free(&self) -> u64 {
        self.homes.saturating_sub(self.taken)
    }

    /// To be had: what homes are to give up is not, nor what others ask back.
    pub(super) const fn available(&self, own_claims: u32) -> u64 {
        #[expect(clippy::as_conversions, reason = "a widening, and From is not const")]
        let others = self.claimed.saturating_sub(own_claims as u64);
        self.free().saturating_sub(self.owed).saturating_sub(others)
    }

    /// What has to come back before homes can give up what they are to.
    pub(super) const fn short(&self) -> u64 {
        self.owed.saturating_sub(self.free())
    }

    /// What has to come back before that, and before those have their own who ask for it.
    pub(super) const fn asked_back(&self) -> u64 {
        self.owed.saturating_add(self.claimed).saturating_sub(self.free())
    }
}

/// What a node brought in, in licenses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Home {
    /// Counted in the book.
    pub(super) licenses: u32,
    /// What it is to come down to as soon as so much is free.
    pub(super) target: u32,
}

impl Home {
    /// This home and the book, on the way to a count: a rise at once, a fall as far as licenses are free.
    pub(super) fn towards(&self, count: Licenses, book: Book) -> (Self, Book) {
        let owed = book.owed.saturating_sub(u64::from(self.licenses.saturating_sub(self.target)));
        let free = u32::try_from(book.free()).unwrap_or(u32::MAX);
        let rise = count.0.saturating_sub(self.licenses);
        let fall = self.licenses.saturating_sub(count.0).min(free);
        let licenses = self.licenses.saturating_add(rise).saturating_sub(fall);
        let homes = book.homes.saturating_add(u64::from(rise)).saturating_sub(u64::from(fall));
        let owed = owed.saturating_add(u64::from(licenses - count.0));
        (Self { licenses, target: count.0 }, Book { homes, owed, ..book })
    }
}

/// A chunk, in licenses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Hold {
    /// How many.
    pub(super) licenses: u32,
    /// So many more, up to what it brought in, are asked back for it.
    #[serde(default)]
    pub(super) claims: u32,
    /// The ledger of the node that holds it: another one under the same name takes none of it over.
    pub(super) ledger: String,
}

/// A value as it was last seen, and at which revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen<T> {
    /// The revision of its last change; 0: it isn't there.
    pub(super) revision: i64,
    /// The value; the default where there is none.
    pub(super) value: T,
    /// It was looked up in this life.
    pub(super) known: bool,
}

impl<T: Default + DeserializeOwned> Seen<T> {
    /// It may be written: it isn't there, or was understood.
    pub(super) const fn is_writable(&self) -> bool {
        self.known || self.revision == 0
    }

    /// Takes what was read. `false` if it is no such value: then nothing is known of it.
    pub(super) fn learn(&mut self, revision: i64, text: Option<&str>) -> bool {
        let value = text.map_or_else(|| Ok(T::default()), serde_json::from_str);
        let readable = value.is_ok();
        *self = Self { revision, value: value.unwrap_or_default(), known: readable };
        readable
    }
}

/// A value as it is written.
pub(super) fn text(value: &impl Serialize) -> String {
    // Plain structures of numbers and texts: there is nothing in them that JSON couldn't hold.
    serde_json::to_string(value).unwrap_or_default()
}

/// The name of a ledger, as it stands in a chunk.
pub(super) fn ledger_name(ledger: LedgerId) -> String {
    format!("{:032x}", ledger.0)
}

/// Makes keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.trim_end_matches('/')) }
    }

    pub(super) fn resource(id: &ResourceId) -> String {
        let kind = match id.kind {
            Kind::Rate => "rate",
            Kind::Session => "session",
        };
        let class = match id.class {
            Class::Hard => "hard",
            Class::License => "license",
        };
        format!("{}.{kind}.{class}", id.name)
    }

    pub(super) fn life(node: &NodeName, life: u64) -> String {
        format!("{node}@{life:016x}")
    }

    pub(super) fn book(&self, resource: &str) -> String {
        format!("{}book/{resource}", self.prefix)
    }

    pub(super) fn home(&self, resource: &str, node: &str) -> String {
        format!("{}home/{resource}/{node}", self.prefix)
    }

    /// The prefix of all chunks of a resource.
    pub(super) fn holds(&self, resource: &str) -> String {
        format!("{}hold/{resource}/", self.prefix)
    }

    pub(super) fn hold(&self, resource: &str, holder: &str) -> String {
        format!("{}{holder}", self.holds(resource))
    }

    pub(super) fn live(&self, life: &str) -> String {
        format!("{}live/{life}", self.prefix)
    }

    /// The prefix of all lives of a node.
    pub(super) fn lives(&self, node: &NodeName) -> String {
        format!("{}live/{node}@", self.prefix)
    }

    pub(super) fn gone(&self, resource: &str, node: &NodeName) -> String {
        format!("{}gone/{resource}/{node}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: Book = Book { homes: 100, taken: 90, owed: 0, claimed: 0 };

    #[test]
    fn a_home_rises_at_once_and_falls_as_far_as_licenses_are_free() {
        let home = Home { licenses: 50, target: 50 };
        let (risen, book) = home.towards(Licenses(70), BOOK);
        assert_eq!((risen.licenses, book), (70, Book { homes: 120, taken: 90, owed: 0, claimed: 0 }));
        let (fallen, book) = home.towards(Licenses(20), BOOK);
        assert_eq!((fallen.licenses, fallen.target), (40, 20));
        assert_eq!(book, Book { homes: 90, taken: 90, owed: 20, claimed: 0 });
        assert_eq!((book.available(0), book.short()), (0, 20));
    }

    #[test]
    fn a_fall_that_is_called_off_owes_nothing() {
        let (half, book) = Home { licenses: 50, target: 50 }.towards(Licenses(20), BOOK);
        let (back, book) = half.towards(Licenses(50), book);
        assert_eq!((back.licenses, book), (50, BOOK));
    }

    #[test]
    fn what_is_no_value_is_not_known() {
        let mut seen = Seen::<Book>::default();
        assert!(!seen.learn(7, Some("{\"homes\":-1}")));
        assert!(!seen.known);
        assert!(seen.learn(8, Some(&text(&BOOK))));
        assert_eq!((seen.value, seen.revision), (BOOK, 8));
        assert!(seen.learn(9, None));
        assert_eq!(seen.value, Book::default());
    }
}
