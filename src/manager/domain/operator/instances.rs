//! Product instances: removal after its effect was shown, transfer, and what people decide about them.

use sha2::{Digest, Sha256};

use super::super::agent::{carry, end, event, machine_key, move_to};
use super::super::alerts::alert_id;
use super::super::batch::Batch;
use super::super::record::{AlertKind, Instance, InstanceState, Record};
use super::super::view::{InstanceView, RemovalPreview};
use super::super::{
    Domain, InstanceEventKind, InstanceId, InstancePatch, OperatorRefused, OperatorReply, VirtualAccountId,
};
use super::{Acting, Outcome, did, not_found, note_text};

impl Domain {
    fn known(&self, id: InstanceId) -> Result<Instance, OperatorRefused> {
        self.instances.get(&id).cloned().ok_or_else(|| not_found("product instance", id))
    }

    fn registered(&self, id: InstanceId) -> Result<Instance, OperatorRefused> {
        let instance = self.known(id)?;
        if instance.state.is_registered() {
            return Ok(instance);
        }
        Err(OperatorRefused::Conflict(format!("the product instance is {} already", instance.state.name())))
    }

    /// What the removal of an instance would do now.
    ///
    /// # Errors
    /// If there is none, or it is gone already.
    pub fn preview_removal(&self, id: InstanceId) -> Result<RemovalPreview, OperatorRefused> {
        let instance = self.registered(id)?;
        let (effect, may_refuse_calls) = effect_of(&instance);
        let left = instance.leaving.iter().flat_map(|left| &left.entitlements);
        let (mut releases, mut held_back) = (Vec::new(), Vec::new());
        for one in instance.entitlements.iter().chain(left) {
            if one.held > 0 {
                held_back.push((one.tag.clone(), one.held));
            } else if one.requested > 0 {
                releases.push((one.tag.clone(), one.requested));
            }
        }
        let mut hasher = Sha256::new();
        hasher.update(format!("{id} {} {:?} {releases:?} {held_back:?} {effect}", instance.key, instance.state));
        Ok(RemovalPreview {
            instance: id,
            udi: instance.udi.to_string(),
            hostname: instance.hostname,
            releases,
            held_back,
            effect,
            may_refuse_calls,
            confirm: hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    pub(super) fn remove_instance(
        &mut self,
        acting: &Acting<'_>,
        id: InstanceId,
        confirm: Option<&str>,
        batch: &mut Batch,
    ) -> Outcome {
        let mut instance = self.registered(id)?;
        let preview = self.preview_removal(id)?;
        if confirm != Some(preview.confirm.as_str()) {
            return Err(OperatorRefused::ConfirmationNeeded(Box::new(preview)));
        }
        end(&mut instance, InstanceState::Removed, acting.now);
        self.clear_instance(id, acting.now, batch);
        batch.event(event(&instance, InstanceEventKind::Removed, acting.now, acting.actor.name.clone()));
        let view = InstanceView::of(&instance);
        self.store(instance, batch);
        Ok(did(OperatorReply::Instance(Box::new(view)), format!("/instances/{id}"), preview.effect))
    }

    pub(super) fn transfer_instance(
        &mut self,
        acting: &Acting<'_>,
        id: InstanceId,
        to: VirtualAccountId,
        batch: &mut Batch,
    ) -> Outcome {
        let mut instance = self.registered(id)?;
        let to = self.account_or_default(Some(to))?;
        let from = instance.virtual_account;
        if to == from {
            return Err(OperatorRefused::Conflict("it is in that virtual account already".into()));
        }
        let asked: Vec<_> = instance.entitlements.iter().map(|one| (one.tag.clone(), one.requested)).collect();
        move_to(&mut instance, to, acting.now).map_err(|denied| OperatorRefused::Conflict(denied.text().to_owned()))?;
        instance.registered_at = acting.now;
        // What it asks for goes with it; the next answer says what the new virtual account gives.
        carry(&mut instance, asked);
        batch.event(event(&instance, InstanceEventKind::Moved, acting.now, acting.actor.name.clone()));
        let view = InstanceView::of(&instance);
        self.store(instance, batch);
        let detail = format!("from {from} to {to}");
        Ok(did(OperatorReply::Instance(Box::new(view)), format!("/instances/{id}"), detail))
    }

    pub(super) fn update_instance(&mut self, id: InstanceId, patch: InstancePatch, batch: &mut Batch) -> Outcome {
        let mut instance = self.known(id)?;
        if let Some(note) = &patch.note {
            note_text("note", note)?;
        }
        let detail = format!("priority {:?}, note {:?}", patch.priority, patch.note);
        instance.priority = patch.priority.unwrap_or(instance.priority);
        instance.note = patch.note.unwrap_or(instance.note);
        let view = InstanceView::of(&instance);
        self.store(instance, batch);
        Ok(did(OperatorReply::Instance(Box::new(view)), format!("/instances/{id}"), detail))
    }

    pub(super) fn forget_instance(&mut self, acting: &Acting<'_>, id: InstanceId, batch: &mut Batch) -> Outcome {
        let instance = self.known(id)?;
        if instance.state.is_registered() {
            return Err(OperatorRefused::Conflict("it is registered; remove it first".into()));
        }
        if !instance.entitlements.is_empty() || !instance.leaving.is_empty() || !instance.fenced.is_empty() {
            return Err(OperatorRefused::Conflict(
                "it may still hold hard resources; wait until its grant has ended".into(),
            ));
        }
        let detail = instance.udi.to_string();
        self.forget(&instance, acting.now, batch);
        Ok(did(OperatorReply::Done, format!("/instances/{id}"), detail))
    }

    pub(super) fn prepare_rehost(
        &mut self,
        acting: &Acting<'_>,
        id: InstanceId,
        prepare: bool,
        batch: &mut Batch,
    ) -> Outcome {
        let mut instance = self.registered(id)?;
        instance.rehost_prepared_at = prepare.then_some(acting.now);
        let view = InstanceView::of(&instance);
        self.store(instance, batch);
        let detail = if prepare { "prepared" } else { "given up" };
        Ok(did(OperatorReply::Instance(Box::new(view)), format!("/instances/{id}"), detail))
    }

    pub(super) fn allow_machine(
        &mut self,
        acting: &Acting<'_>,
        fingerprint: &str,
        allow: bool,
        batch: &mut Batch,
    ) -> Outcome {
        let Some(machine) = self.machines.get_mut(fingerprint) else { return Err(not_found("machine", fingerprint)) };
        machine.allowed = allow;
        batch.put(Record::Machine(machine.clone()));
        if allow {
            self.clear(&alert_id(AlertKind::AuthorizationPending, fingerprint), acting.now, batch);
        }
        let target = machine_key(fingerprint).to_string();
        Ok(did(OperatorReply::Done, format!("/{target}"), format!("allowed {allow}")))
    }
}

/// What the product does once it is removed, and whether calls may be refused by it.
fn effect_of(instance: &Instance) -> (String, bool) {
    let Some(removal) = &instance.removal else {
        return ("what its product does then is not known: it did not say; calls may be refused".to_owned(), true);
    };
    let left_h = removal.evaluation_s.saturating_sub(instance.eval_used_s) / 3600;
    let (then, refuses) = match removal.expired_effect.as_str() {
        "reject_new" => ("new calls are refused", true),
        "reject_new_registrations" => ("new registrations are refused; calls go on", true),
        "config_freeze" => ("configuration changes are refused; calls go on", false),
        "notify" | "allow_notify" => ("nothing is refused; alarms tell of it", false),
        other => return (format!("its product says {other:?}, which is not known here; calls may be refused"), true),
    };
    let when = match (left_h, removal.grace_s / 3600) {
        (0, 0) => "at once, for no evaluation is left".to_owned(),
        (0, grace) => format!("after {grace} h of grace, for no evaluation is left"),
        (left, _) => format!("when the {left} h of evaluation that are left have been used"),
    };
    (format!("its licenses come back; {then} {when}"), refuses)
}
