//! Commands of operators, taken one at a time: who may, what is accepted, and the note in the audit log.
//!
//! A refused command changes nothing. Everything is checked before the first change.

mod accounts;
mod instances;
mod licenses;
mod people;
mod tokens;

use super::batch::Batch;
use super::bounds::{NAME_BYTES_MAX, NOTE_BYTES_MAX, TIME_MAX};
use super::record::{Record, Role};
use super::{Actor, Change, Domain, OperatorCommand, OperatorRefused, OperatorReply, VirtualAccountId};
use crate::protocol::Entropy;
use crate::units::UnixMillis;
use crate::units::when::iso;

/// What was done, and what the audit log says of it.
struct Did {
    reply: OperatorReply,
    target: String,
    detail: String,
}

type Outcome = Result<Did, OperatorRefused>;

fn did(reply: OperatorReply, target: impl Into<String>, detail: impl Into<String>) -> Did {
    Did { reply, target: target.into(), detail: detail.into() }
}

/// What stays the same while one command is carried out.
struct Acting<'a> {
    actor: &'a Actor,
    now: UnixMillis,
}

impl OperatorCommand {
    /// Its name in the audit log, and the least role that may give it.
    #[must_use]
    pub const fn rule(&self) -> (&'static str, Role) {
        match self {
            Self::AcknowledgeAlert(_) => ("acknowledge_alert", Role::Operator),
            Self::RunReport(..) => ("run_report", Role::Operator),
            Self::CreateToken(_) => ("create_token", Role::Operator),
            Self::RevokeToken(_) => ("revoke_token", Role::Operator),
            Self::RemoveToken(_) => ("remove_token", Role::Operator),
            Self::UpdateInstance(..) => ("update_instance", Role::Operator),
            Self::RemoveInstance { .. } => ("remove_instance", Role::Operator),
            Self::TransferInstance { .. } => ("transfer_instance", Role::LicenseAdmin),
            Self::ForgetInstance(_) => ("forget_instance", Role::LicenseAdmin),
            Self::PrepareRehost { .. } => ("prepare_rehost", Role::LicenseAdmin),
            Self::AllowMachine { .. } => ("allow_machine", Role::LicenseAdmin),
            Self::CreateVirtualAccount(_) => ("create_virtual_account", Role::LicenseAdmin),
            Self::UpdateVirtualAccount(..) => ("update_virtual_account", Role::LicenseAdmin),
            Self::RemoveVirtualAccount(_) => ("remove_virtual_account", Role::LicenseAdmin),
            Self::DefineTag(_) => ("define_tag", Role::LicenseAdmin),
            Self::RemoveTag(_) => ("remove_tag", Role::LicenseAdmin),
            Self::AddLot(_) => ("add_lot", Role::LicenseAdmin),
            Self::RemoveLot(_) => ("remove_lot", Role::LicenseAdmin),
            Self::TransferLicenses(_) => ("transfer_licenses", Role::LicenseAdmin),
            Self::SetPolicy(_) => ("set_policy", Role::Owner),
            Self::CreateUser(_) => ("create_user", Role::Owner),
            Self::UpdateUser(..) => ("update_user", Role::Owner),
            // And everybody their own: see `set_password`.
            Self::SetPassword(..) => ("set_password", Role::Viewer),
            Self::RemoveUser(_) => ("remove_user", Role::Owner),
            Self::CreateApiKey(_) => ("create_api_key", Role::Owner),
            Self::RevokeApiKey(_) => ("revoke_api_key", Role::Owner),
            Self::PutKey(_) => ("put_key", Role::Owner),
            Self::PutSetting(_) => ("put_setting", Role::Owner),
        }
    }
}

impl Domain {
    /// Carries out a command, and notes it in the audit log.
    ///
    /// # Errors
    /// If it is refused; then nothing was changed.
    pub fn operator(
        &mut self,
        actor: &Actor,
        command: OperatorCommand,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> Result<(OperatorReply, Vec<Change>), OperatorRefused> {
        let (action, needs) = command.rule();
        if actor.role < needs {
            return Err(OperatorRefused::Forbidden { found: actor.role, needs });
        }
        let acting = Acting { actor, now };
        let mut batch = Batch::default();
        let done = self.carry_out(&acting, command, entropy, &mut batch)?;
        self.tell_of_pools(now, entropy, &mut batch);
        self.note(actor, action, done.target, done.detail, now, &mut batch);
        Ok((done.reply, batch.changes))
    }

    fn carry_out(
        &mut self,
        acting: &Acting<'_>,
        command: OperatorCommand,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        match command {
            OperatorCommand::CreateVirtualAccount(new) => self.create_account(acting, new, entropy, batch),
            OperatorCommand::UpdateVirtualAccount(id, new) => self.update_account(acting, id, new, batch),
            OperatorCommand::RemoveVirtualAccount(id) => self.remove_account(acting, id, batch),
            OperatorCommand::SetPolicy(patch) => self.set_policy(patch, batch),
            OperatorCommand::DefineTag(tag) => self.define_tag(tag, batch),
            OperatorCommand::RemoveTag(tag) => self.remove_tag(tag, batch),
            OperatorCommand::AddLot(new) => self.add_lot(acting, new, entropy, batch),
            OperatorCommand::RemoveLot(id) => self.remove_lot(acting, id, batch),
            OperatorCommand::TransferLicenses(transfer) => self.transfer(acting, &transfer, entropy, batch),
            OperatorCommand::CreateToken(new) => self.create_token(acting, new, entropy, batch),
            OperatorCommand::RevokeToken(id) => self.revoke_token(acting, id, batch),
            OperatorCommand::RemoveToken(id) => self.remove_token(acting, id, batch),
            OperatorCommand::RemoveInstance { instance, confirm } => {
                self.remove_instance(acting, instance, confirm.as_deref(), batch)
            }
            OperatorCommand::TransferInstance { instance, to } => self.transfer_instance(acting, instance, to, batch),
            OperatorCommand::UpdateInstance(id, patch) => self.update_instance(id, patch, batch),
            OperatorCommand::ForgetInstance(id) => self.forget_instance(acting, id, batch),
            OperatorCommand::PrepareRehost { instance, prepare } => {
                self.prepare_rehost(acting, instance, prepare, batch)
            }
            OperatorCommand::AllowMachine { fingerprint, allow } => {
                self.allow_machine(acting, &fingerprint, allow, batch)
            }
            OperatorCommand::AcknowledgeAlert(id) => self.acknowledge_alert(acting, &id, batch),
            OperatorCommand::RunReport(kind, account) => self.run_report(acting, kind, account, entropy, batch),
            OperatorCommand::CreateUser(new) => self.create_user(acting, new, entropy, batch),
            OperatorCommand::UpdateUser(id, patch) => self.update_user(id, patch, batch),
            OperatorCommand::SetPassword(id, hash) => self.set_password(acting, id, hash, batch),
            OperatorCommand::RemoveUser(id) => self.remove_user(id, batch),
            OperatorCommand::CreateApiKey(new) => self.create_api_key(acting, new, entropy, batch),
            OperatorCommand::RevokeApiKey(id) => self.revoke_api_key(acting, id, batch),
            OperatorCommand::PutKey(key) => self.put_key(key, batch),
            OperatorCommand::PutSetting(setting) => self.put_setting(setting, batch),
        }
    }

    /// Notes in the audit log that somebody logged in. Whoever checks passwords calls it.
    pub fn note_login(&mut self, actor: &Actor, now: UnixMillis) -> Vec<Change> {
        let mut batch = Batch::default();
        self.note(actor, "login", "/sessions".to_owned(), String::new(), now, &mut batch);
        batch.changes
    }

    /// Notes an act in the audit log.
    pub(super) fn note(
        &mut self,
        actor: &Actor,
        action: &str,
        target: String,
        detail: String,
        now: UnixMillis,
        batch: &mut Batch,
    ) {
        let address = actor.address.map(|address| address.to_string());
        let entry = self.audit.append(now, actor.name.clone(), address, action, target, detail);
        batch.audit(entry);
        batch.put(Record::AuditHead(self.audit.clone()));
    }

    /// The virtual account of that id, or the default one.
    fn account_or_default(&self, id: Option<VirtualAccountId>) -> Result<VirtualAccountId, OperatorRefused> {
        let id = id.unwrap_or(self.account.default_virtual_account);
        if self.virtual_accounts.contains_key(&id) { Ok(id) } else { Err(not_found("virtual account", id)) }
    }
}

fn not_found(what: &'static str, id: impl ToString) -> OperatorRefused {
    OperatorRefused::NotFound { what, id: id.to_string().chars().take(NAME_BYTES_MAX).collect() }
}

fn invalid(field: &'static str, found: impl ToString, accepted: impl Into<String>) -> OperatorRefused {
    OperatorRefused::Invalid { field, found: found.to_string(), accepted: accepted.into() }
}

/// Room for one more.
fn room(what: &'static str, count: usize, max: usize) -> Result<(), OperatorRefused> {
    if count < max { Ok(()) } else { Err(OperatorRefused::Full { what, max }) }
}

/// A name: something, not too long, on one line.
fn name(field: &'static str, text: &str) -> Result<(), OperatorRefused> {
    let accepted = || format!("1 to {NAME_BYTES_MAX} bytes without control characters, and no space at either end");
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(invalid(field, format!("{} bytes", text.len()), accepted()));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(invalid(field, format!("{text:?}"), accepted()));
    }
    Ok(())
}

/// A name in paths and configurations.
fn word(field: &'static str, text: &str) -> Result<(), OperatorRefused> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'@');
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(());
    }
    let found: String = text.chars().take(NAME_BYTES_MAX).collect();
    Err(invalid(field, format!("{found:?}"), format!("1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - : @")))
}

/// A text that may be empty and may have lines.
fn note_text(field: &'static str, text: &str) -> Result<(), OperatorRefused> {
    if text.len() > NOTE_BYTES_MAX {
        return Err(invalid(field, format!("{} bytes", text.len()), format!("at most {NOTE_BYTES_MAX} bytes")));
    }
    storable(field, text)
}

/// What no database refuses, and no terminal obeys.
fn storable(field: &'static str, text: &str) -> Result<(), OperatorRefused> {
    match text.chars().find(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t')) {
        None => Ok(()),
        Some(found) => {
            Err(invalid(field, format!("{found:?}"), "a text without control characters but line ends and tabs"))
        }
    }
}

/// A time that somebody gives.
fn time(field: &'static str, found: UnixMillis) -> Result<(), OperatorRefused> {
    if found <= TIME_MAX {
        return Ok(());
    }
    // Beyond it nothing is a date.
    Err(invalid(field, found.0, format!("at most {} ({})", TIME_MAX.0, iso(TIME_MAX))))
}

/// A list of names.
fn names(field: &'static str, texts: &[String]) -> Result<(), OperatorRefused> {
    let max = super::bounds::FILTERS_MAX;
    if texts.len() > max {
        return Err(invalid(field, format!("{} entries", texts.len()), format!("at most {max} entries")));
    }
    texts.iter().try_for_each(|text| word(field, text))
}
