//! Tags, purchases, and their transfer between virtual accounts.

use super::super::alerts::alert_id;
use super::super::batch::Batch;
use super::super::bounds::{LICENSES_MAX, LOTS_MAX, LOTS_PER_POOL_MAX, TAGS_MAX};
use super::super::record::{AlertKind, Lot, Record, RecordKey, RecordKind, TagClass, TagDefinition};
use super::super::view::LotView;
use super::super::{
    Domain, Journal, LotId, NewLot, OperatorRefused, OperatorReply, Transfer, TransferRow, VirtualAccountId,
};
use super::accounts::check_overage;
use super::{Acting, Outcome, did, invalid, name, not_found, note_text, room, time, word};
use crate::protocol::Entropy;
use crate::units::UnixMillis;
use crate::units::when::{iso, when};

impl Domain {
    pub(super) fn define_tag(&mut self, tag: TagDefinition, batch: &mut Batch) -> Outcome {
        word("tag", &tag.tag)?;
        name("display_name", &tag.display_name)?;
        note_text("description", &tag.description)?;
        if let Some(overage) = &tag.overage {
            check_overage(overage)?;
        }
        if let Some(tier) = &tag.tier {
            word("tier.family", &tier.family)?;
            if tag.class == TagClass::Hard {
                return Err(invalid("tier", "a tier of a hard resource", "tiers of licenses alone"));
            }
            let taken = |other: &&TagDefinition| other.tag != tag.tag && other.tier.as_ref() == Some(tier);
            if let Some(other) = self.tags.values().find(taken) {
                return Err(invalid("tier.level", tier.level, format!("a level other than that of {}", other.tag)));
            }
        }
        match self.tags.get(&tag.tag) {
            None => room("tags", self.tags.len(), TAGS_MAX)?,
            Some(old) if old.class != tag.class && self.is_used(&tag.tag) => {
                return Err(OperatorRefused::Conflict("the tag is in use; its class cannot change now".into()));
            }
            Some(_) => {}
        }
        let detail = format!("class {:?}, tier {:?}, overage {:?}", tag.class, tag.tier, tag.overage);
        let old = self.relatives(&tag.tag);
        batch.put(Record::Tag(tag.clone()));
        self.tags.insert(tag.tag.clone(), tag.clone());
        self.books.set_families(self.tags.values());
        for relative in old.iter().chain(&self.relatives(&tag.tag)) {
            self.touch_everywhere(relative, batch);
        }
        let target = format!("/tags/{}", tag.tag);
        Ok(did(OperatorReply::Tag(Box::new(tag)), target, detail))
    }

    pub(super) fn remove_tag(&mut self, tag: String, batch: &mut Batch) -> Outcome {
        if !self.tags.contains_key(&tag) {
            return Err(not_found("tag", &tag));
        }
        if self.is_used(&tag) {
            return Err(OperatorRefused::Conflict("the tag has purchases or is in use; remove those first".into()));
        }
        self.tags.remove(&tag);
        self.books.set_families(self.tags.values());
        let target = format!("/tags/{tag}");
        batch.remove(RecordKey { kind: RecordKind::Tag, id: tag });
        Ok(did(OperatorReply::Done, target, ""))
    }

    /// Something was bought of the tag, is asked for or held, or was asked for once by somebody who may still say so.
    fn is_used(&self, tag: &str) -> bool {
        self.books.pools().any(|(_, other, _)| other == tag)
            || self.instances.values().any(|instance| instance.entitlements.iter().any(|one| one.tag == tag))
    }

    fn touch_everywhere(&self, tag: &str, batch: &mut Batch) {
        let touched = self.books.pools().filter(|(_, other, _)| *other == tag);
        batch.touched.extend(touched.map(|(account, tag, _)| (account, tag.clone())));
    }

    pub(super) fn add_lot(
        &mut self,
        acting: &Acting<'_>,
        new: NewLot,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        let account = self.account_or_default(new.virtual_account)?;
        word("tag", &new.tag)?;
        note_text("note", &new.note)?;
        quantity(new.quantity)?;
        let start = new.start.unwrap_or(acting.now);
        time("start", start)?;
        new.end.map_or(Ok(()), |end| time("end", end))?;
        if let Some(end) = new.end.filter(|end| *end <= start || *end <= acting.now) {
            let accepted = format!("after its start ({}) and after now ({})", iso(start), iso(acting.now));
            return Err(invalid("end", iso(end), accepted));
        }
        self.room_for_lot(account, &new.tag)?;
        if !self.tags.contains_key(&new.tag) {
            room("tags", self.tags.len(), TAGS_MAX)?;
            let tag = TagDefinition {
                tag: new.tag.clone(),
                display_name: new.tag.clone(),
                description: String::new(),
                class: TagClass::License,
                tier: None,
                overage: None,
            };
            batch.put(Record::Tag(tag.clone()));
            self.tags.insert(tag.tag.clone(), tag);
        }
        let lot = Lot {
            id: LotId::generate(entropy),
            virtual_account: account,
            tag: new.tag,
            quantity: new.quantity,
            start,
            end: new.end,
            note: new.note,
            created_at: acting.now,
            split_from: None,
        };
        let view = LotView::of(&lot, acting.now);
        let end = lot.end.map_or_else(|| "perpetual".to_owned(), |end| format!("until {}", when(end)));
        let detail = format!("{} of {} in {account}, from {}, {end}", lot.quantity, lot.tag, when(start));
        let target = format!("/lots/{}", lot.id);
        self.put_lot(lot, acting.now, batch);
        Ok(did(OperatorReply::Lot(Box::new(view)), target, detail))
    }

    fn room_for_lot(&self, account: VirtualAccountId, tag: &str) -> Result<(), OperatorRefused> {
        room("purchases", self.lots.len(), LOTS_MAX)?;
        let count = self.books.pool(account, tag).map_or(0, |pool| pool.lots());
        room("purchases of this tag in this virtual account", count, LOTS_PER_POOL_MAX)
    }

    fn put_lot(&mut self, lot: Lot, now: UnixMillis, batch: &mut Batch) {
        batch.put(Record::Lot(lot.clone()));
        let pool = self.books.pool_mut(lot.virtual_account, &lot.tag);
        pool.put_lot(&lot);
        pool.refresh(now);
        batch.touched.insert((lot.virtual_account, lot.tag.clone()));
        self.lots.insert(lot.id, lot);
    }

    pub(super) fn remove_lot(&mut self, acting: &Acting<'_>, id: LotId, batch: &mut Batch) -> Outcome {
        let Some(lot) = self.lots.get(&id).cloned() else { return Err(not_found("lot of licenses", id)) };
        self.may_take(&lot, lot.quantity, acting.now)?;
        self.take_lot(&lot, acting.now, batch);
        let detail = format!("{} of {} in {}", lot.quantity, lot.tag, lot.virtual_account);
        Ok(did(OperatorReply::Done, format!("/lots/{id}"), detail))
    }

    fn take_lot(&mut self, lot: &Lot, now: UnixMillis, batch: &mut Batch) {
        self.lots.remove(&lot.id);
        let pool = self.books.pool_mut(lot.virtual_account, &lot.tag);
        pool.remove_lot(lot.id);
        pool.refresh(now);
        self.books.tidy(lot.virtual_account, &lot.tag);
        batch.touched.insert((lot.virtual_account, lot.tag.clone()));
        batch.remove(lot.id);
        for kind in [AlertKind::LicensesExpiring, AlertKind::LicensesExpired] {
            self.clear(&alert_id(kind, &lot.id.to_string()), now, batch);
        }
    }

    /// Licenses may be taken although they are in use, and are short then. A hard resource may not: nobody else gets what
    /// somebody may still hold.
    fn may_take(&self, lot: &Lot, wanted: u64, now: UnixMillis) -> Result<(), OperatorRefused> {
        let hard = self.tags.get(&lot.tag).is_some_and(|tag| tag.class == TagClass::Hard);
        if !hard || !lot.is_active(now) {
            return Ok(());
        }
        let standing = self.standing(lot.virtual_account, &lot.tag, now);
        let free = standing.supply.purchased.saturating_sub(standing.held);
        if wanted <= free {
            return Ok(());
        }
        Err(OperatorRefused::Conflict(format!(
            "{} is a hard resource: {} bought, {} held by product instances, so at most {free} can be taken now; lower what \
             the instances ask for first",
            lot.tag, standing.supply.purchased, standing.held
        )))
    }

    pub(super) fn transfer(
        &mut self,
        acting: &Acting<'_>,
        transfer: &Transfer,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        let Some(lot) = self.lots.get(&transfer.lot).cloned() else {
            return Err(not_found("lot of licenses", transfer.lot));
        };
        let to = self.account_or_default(Some(transfer.to))?;
        if to == lot.virtual_account {
            return Err(invalid("to", to, "another virtual account than the one the licenses are in"));
        }
        if transfer.quantity == 0 || transfer.quantity > lot.quantity {
            return Err(invalid("quantity", transfer.quantity, format!("1 to {}, what the lot holds", lot.quantity)));
        }
        if lot.end.is_some_and(|end| end <= acting.now) {
            return Err(OperatorRefused::Conflict("the term of these licenses has ended".into()));
        }
        self.room_for_lot(to, &lot.tag)?;
        self.may_take(&lot, transfer.quantity, acting.now)?;
        let moved = Lot {
            id: LotId::generate(entropy),
            virtual_account: to,
            quantity: transfer.quantity,
            split_from: Some(lot.id),
            created_at: acting.now,
            ..lot.clone()
        };
        batch.append(Journal::Transfer(TransferRow {
            at: acting.now,
            actor: acting.actor.name.clone(),
            from: lot.virtual_account,
            to,
            tag: lot.tag.clone(),
            quantity: transfer.quantity,
            lot: lot.id,
            new_lot: moved.id,
        }));
        let detail = format!("{} of {} from {} to {to}", transfer.quantity, lot.tag, lot.virtual_account);
        if transfer.quantity == lot.quantity {
            self.take_lot(&lot, acting.now, batch);
        } else {
            self.put_lot(Lot { quantity: lot.quantity - transfer.quantity, ..lot.clone() }, acting.now, batch);
        }
        let view = LotView::of(&moved, acting.now);
        self.put_lot(moved, acting.now, batch);
        Ok(did(OperatorReply::Lot(Box::new(view)), format!("/lots/{}", transfer.lot), detail))
    }
}

fn quantity(found: u64) -> Result<(), OperatorRefused> {
    if (1..=LICENSES_MAX).contains(&found) {
        return Ok(());
    }
    Err(invalid("quantity", found, format!("1 to {LICENSES_MAX}")))
}
