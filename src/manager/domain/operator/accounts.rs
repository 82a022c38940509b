//! The account's policy, virtual accounts, alerts, reports, keys and settings.

use super::super::batch::Batch;
use super::super::bounds::{KEYS_MAX, SETTING_BYTES_MAX, SETTINGS_MAX, VIRTUAL_ACCOUNTS_MAX};
use super::super::record::{KeyMeta, Overage, OverageStrategy, Record, Setting, VirtualAccount};
use super::super::view::TokenState;
use super::super::{
    Domain, Journal, NewVirtualAccount, OperatorRefused, OperatorReply, PolicyPatch, ReportKind, VirtualAccountId,
};
use super::{Acting, Outcome, did, invalid, name, names, not_found, note_text, room, storable, time, word};
use crate::protocol::Entropy;

impl Domain {
    pub(super) fn create_account(
        &mut self,
        acting: &Acting<'_>,
        new: NewVirtualAccount,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        room("virtual accounts", self.virtual_accounts.len(), VIRTUAL_ACCOUNTS_MAX)?;
        self.check_account(&new, None)?;
        let account = VirtualAccount {
            id: VirtualAccountId::generate(entropy),
            name: new.name,
            description: new.description,
            created_at: acting.now,
            short_since: std::collections::BTreeMap::new(),
        };
        let detail = format!("name {:?}", account.name);
        batch.put(Record::VirtualAccount(account.clone()));
        let view = self.virtual_account_view(&account, acting.now);
        let target = format!("/virtual-accounts/{}", account.id);
        self.virtual_accounts.insert(account.id, account);
        Ok(did(OperatorReply::VirtualAccount(Box::new(view)), target, detail))
    }

    pub(super) fn update_account(
        &mut self,
        acting: &Acting<'_>,
        id: VirtualAccountId,
        new: NewVirtualAccount,
        batch: &mut Batch,
    ) -> Outcome {
        let Some(old) = self.virtual_accounts.get(&id).cloned() else {
            return Err(not_found("virtual account", id));
        };
        self.check_account(&new, Some(id))?;
        let detail = format!("name {:?}, before {:?}", new.name, old.name);
        let account = VirtualAccount { name: new.name, description: new.description, ..old };
        batch.put(Record::VirtualAccount(account.clone()));
        let view = self.virtual_account_view(&account, acting.now);
        self.virtual_accounts.insert(id, account);
        Ok(did(OperatorReply::VirtualAccount(Box::new(view)), format!("/virtual-accounts/{id}"), detail))
    }

    fn check_account(&self, new: &NewVirtualAccount, itself: Option<VirtualAccountId>) -> Result<(), OperatorRefused> {
        name("name", &new.name)?;
        note_text("description", &new.description)?;
        if self.virtual_accounts.values().any(|other| other.name == new.name && Some(other.id) != itself) {
            return Err(invalid("name", format!("{:?}", new.name), "a name that no other virtual account has"));
        }
        Ok(())
    }

    pub(super) fn remove_account(&mut self, acting: &Acting<'_>, id: VirtualAccountId, batch: &mut Batch) -> Outcome {
        let Some(account) = self.virtual_accounts.get(&id) else { return Err(not_found("virtual account", id)) };
        if id == self.account.default_virtual_account {
            return Err(OperatorRefused::Conflict(
                "it is the default virtual account; make another the default".into(),
            ));
        }
        if self.lots.values().any(|lot| lot.virtual_account == id) {
            return Err(OperatorRefused::Conflict("it has licenses; transfer or remove them first".into()));
        }
        let in_it = |instance: &super::super::Instance| {
            instance.virtual_account == id || instance.leaving.iter().any(|left| left.virtual_account == id)
        };
        let (gone, live): (Vec<_>, Vec<_>) =
            self.instances.values().filter(|one| in_it(one)).partition(|one| !one.state.is_registered());
        if !live.is_empty() || self.books.pools_of(id).next().is_some() {
            return Err(OperatorRefused::Conflict("it has product instances; transfer or remove them first".into()));
        }
        let active = |token: &&super::super::Token| token.state(acting.now) == TokenState::Active;
        if self.tokens.values().filter(|token| token.virtual_account == id).any(|token| active(&token)) {
            return Err(OperatorRefused::Conflict("it has active tokens; revoke them first".into()));
        }
        let detail = format!("name {:?}", account.name);
        // Nothing may name what doesn't exist: what is gone moves to the default one, ended tokens go.
        let gone: Vec<_> = gone.into_iter().cloned().collect();
        for mut instance in gone {
            instance.virtual_account = self.account.default_virtual_account;
            self.store(instance, batch);
        }
        let tokens: Vec<_> = self.tokens.values().filter(|token| token.virtual_account == id).cloned().collect();
        for token in tokens {
            self.tokens.remove(&token.id);
            self.token_by_hash.remove(&token.hash);
            batch.remove(token.id);
        }
        self.virtual_accounts.remove(&id);
        batch.remove(id);
        Ok(did(OperatorReply::Done, format!("/virtual-accounts/{id}"), detail))
    }

    pub(super) fn set_policy(&mut self, patch: PolicyPatch, batch: &mut Batch) -> Outcome {
        let mut account = self.account.clone();
        let mut said = Vec::new();
        macro_rules! set {
            ($($field:ident),*) => { $(
                if let Some(value) = patch.$field {
                    said.push(format!(concat!(stringify!($field), " {:?}, before {:?}"), value, account.$field));
                    account.$field = value;
                }
            )* };
        }
        if let Some(text) = &patch.name {
            name("name", text)?;
        }
        if let Some(id) = patch.default_virtual_account {
            self.account_or_default(Some(id))?;
        }
        if let Some(overage) = &patch.overage {
            check_overage(overage)?;
        }
        if let Some(products) = &patch.products {
            names("products", products)?;
        }
        if let Some(days) = patch.token_days.filter(|days| !(1..=365).contains(days)) {
            return Err(invalid("token_days", days, "1 to 365"));
        }
        if let Some(days) = patch.report_days.filter(|days| *days > 365) {
            return Err(invalid("report_days", days, "0 to 365"));
        }
        set!(
            name,
            default_virtual_account,
            ooc_scope,
            overage,
            eval_policy,
            export_permitted,
            reservation_allowed,
            products,
            token_days,
            report_days
        );
        account.policy_version = account.policy_version.saturating_add(1);
        let reorder = account.ooc_scope != self.account.ooc_scope;
        self.account = account;
        if reorder {
            self.rebook();
        }
        batch.put(Record::Account(self.account.clone()));
        Ok(did(OperatorReply::Account(Box::new(self.account())), "/account", said.join("; ")))
    }

    pub(super) fn acknowledge_alert(&mut self, acting: &Acting<'_>, id: &str, batch: &mut Batch) -> Outcome {
        let Some(alert) = self.alerts.get_mut(id) else { return Err(not_found("alert", id)) };
        alert.acknowledged = Some((acting.actor.name.clone(), acting.now));
        batch.put(Record::Alert(alert.clone()));
        Ok(did(OperatorReply::Alert(Box::new(alert.clone())), format!("/alerts/{id}"), ""))
    }

    pub(super) fn run_report(
        &mut self,
        acting: &Acting<'_>,
        kind: ReportKind,
        account: Option<VirtualAccountId>,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        let report = self.report(kind, account, acting.actor, acting.now, entropy)?;
        batch.append(Journal::Report(Box::new(report.clone())));
        let target = format!("/reports/{}", report.id);
        Ok(did(OperatorReply::Report(Box::new(report)), target, format!("{kind:?}")))
    }

    pub(super) fn put_key(&mut self, key: KeyMeta, batch: &mut Batch) -> Outcome {
        if key.kid != key.key.id().to_string() {
            return Err(invalid("kid", &key.kid, key.key.id().to_string()));
        }
        if !self.keys.contains_key(&key.kid) {
            room("signing keys", self.keys.len(), KEYS_MAX)?;
        }
        time("not_before", key.not_before)?;
        time("not_after", key.not_after)?;
        time("created_at", key.created_at)?;
        let (target, detail) = (format!("/keys/{}", key.kid), format!("{:?} {:?}", key.key_use, key.state));
        batch.put(Record::Key(key.clone()));
        self.keys.insert(key.kid.clone(), key);
        Ok(did(OperatorReply::Done, target, detail))
    }

    pub(super) fn put_setting(&mut self, setting: Setting, batch: &mut Batch) -> Outcome {
        word("name", &setting.name)?;
        if setting.value.len() > SETTING_BYTES_MAX {
            let accepted = format!("at most {SETTING_BYTES_MAX} bytes");
            return Err(invalid("value", format!("{} bytes", setting.value.len()), accepted));
        }
        storable("value", &setting.value)?;
        if !self.settings.contains_key(&setting.name) {
            room("settings", self.settings.len(), SETTINGS_MAX)?;
        }
        // A value may be a secret: its size alone is noted.
        let (target, detail) = (format!("/settings/{}", setting.name), format!("{} bytes", setting.value.len()));
        batch.put(Record::Setting(setting.clone()));
        self.settings.insert(setting.name.clone(), setting);
        Ok(did(OperatorReply::Done, target, detail))
    }
}

pub(super) fn check_overage(overage: &Overage) -> Result<(), OperatorRefused> {
    if let OverageStrategy::Percentage(percent) = overage.strategy
        && !(1..=1000).contains(&percent)
    {
        return Err(invalid("overage_strategy", format!("{percent} percent"), "1 to 1000 percent, or allow, or deny"));
    }
    if overage.tolerance_minutes > 525_600 {
        return Err(invalid("tolerance_minutes", overage.tolerance_minutes, "at most 525600, a year"));
    }
    Ok(())
}
