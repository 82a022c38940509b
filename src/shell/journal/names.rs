//! One numbering of names for the whole replay.
//!
//! Records name trunks, tenants, proxies and license types by numbers that hold within one run of the sidecar: the next
//! run gives its own. Replaying several runs would mix them up, so that each number is translated, by the names that its
//! own run logged, into one that stands for the same name throughout.

use std::collections::{HashMap, HashSet};

use crate::admission::{LiveRecord, NameClass, Record};

/// Translates the numbers of each run. A number whose name was not logged (or was lost with a damaged place) becomes no
/// name: the call still counts at the node.
#[derive(Debug, Default)]
pub(super) struct NameNumbers {
    given: HashMap<(NameClass, Box<[u8]>), u16>,
    taken: HashSet<(NameClass, u16)>,
    meant: HashMap<(u64, NameClass, u16), u16>,
}

impl NameNumbers {
    /// Learns what a number means from a name further on in the log: a record that refers to it may stand before it. The
    /// first name counts, until [`translate`](Self::translate) comes to it.
    pub(super) fn learn(&mut self, generation: u64, record: Record) {
        if let Record::Name { class, number, .. } = &record
            && !self.meant.contains_key(&(generation, *class, *number))
        {
            self.translate(generation, record);
        }
    }

    /// The record with its numbers translated from those of this generation, or `None` for what no number is left for.
    pub(super) fn translate(&mut self, generation: u64, record: Record) -> Option<Record> {
        let meant = |class, number: Option<u16>| self.meant.get(&(generation, class, number?)).copied();
        Some(match record {
            Record::Name { class, number, name } => {
                let translated = match self.given.get(&(class, name.clone())) {
                    Some(given) => *given,
                    None => {
                        let translated = self.free(class, number)?;
                        self.taken.insert((class, translated));
                        self.given.insert((class, name.clone()), translated);
                        translated
                    }
                };
                self.meant.insert((generation, class, number), translated);
                Record::Name { class, number: translated, name }
            }
            Record::ProxyEpoch { proxy, epoch, at } => {
                Record::ProxyEpoch { proxy: meant(NameClass::Proxy, Some(proxy))?, epoch, at }
            }
            Record::Live(live) => Record::Live(LiveRecord {
                trunk: meant(NameClass::Trunk, live.trunk),
                tenant: meant(NameClass::Tenant, live.tenant),
                proxy: meant(NameClass::Proxy, live.proxy),
                license_type: meant(NameClass::LicenseType, live.license_type),
                ..live
            }),
            Record::Stamp { at, trunk, tenant } => {
                Record::Stamp { at, trunk: meant(NameClass::Trunk, trunk), tenant: meant(NameClass::Tenant, tenant) }
            }
            Record::SnapshotBegin => Record::SnapshotBegin,
            Record::Lease { key, at, lease_ends_at, lease_s, confirmed, seq } => {
                Record::Lease { key, at, lease_ends_at, lease_s, confirmed, seq }
            }
            Record::Ended { key, at, released } => Record::Ended { key, at, released },
            Record::Buried { key, ends_at, seq } => Record::Buried { key, ends_at, seq },
        })
    }

    /// The number that the run itself used, or, if an earlier run used it for another name, the next free one.
    fn free(&self, class: NameClass, wanted: u16) -> Option<u16> {
        (wanted..=u16::MAX).chain(0..wanted).find(|number| !self.taken.contains(&(class, *number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tick;

    fn name(number: u16, name: &[u8]) -> Record {
        Record::Name { class: NameClass::Trunk, number, name: name.into() }
    }

    fn on(trunk: u16) -> Record {
        Record::Stamp { at: Tick(1), trunk: Some(trunk), tenant: None }
    }

    fn trunk_of(record: Option<Record>) -> Option<u16> {
        let Some(Record::Stamp { trunk, .. }) = record else { panic!("a stamp") };
        trunk
    }

    #[test]
    fn two_runs_that_numbered_the_same_names_differently_mean_the_same_trunks() {
        let mut numbers = NameNumbers::default();
        for (generation, first, second) in [(1, 7, 8), (2, 8, 7)] {
            numbers.translate(generation, name(first, b"a"));
            numbers.translate(generation, name(second, b"b"));
        }
        let a = trunk_of(numbers.translate(1, on(7)));
        assert!(a.is_some());
        assert_eq!(trunk_of(numbers.translate(2, on(8))), a);
        assert_ne!(trunk_of(numbers.translate(1, on(8))), a);
    }

    #[test]
    fn a_number_without_a_name_is_no_name_and_another_class_has_its_own_numbers() {
        let mut numbers = NameNumbers::default();
        numbers.translate(1, Record::Name { class: NameClass::Tenant, number: 3, name: b"t".as_slice().into() });
        assert_eq!(trunk_of(numbers.translate(1, on(3))), None);
        assert_eq!(numbers.translate(1, Record::ProxyEpoch { proxy: 3, epoch: 1, at: Tick(1) }), None);
    }
}
