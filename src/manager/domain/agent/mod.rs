//! Messages of agents, taken one at a time: whose they are, whether they are new, and what they do.
//!
//! A refused message changes nothing of what it asked for; what it may leave behind is an alert, and the count of
//! messages that look like another host's.

mod entitlement;
mod goodbye;
mod registration;
mod renewal;

pub(super) use goodbye::{carry, end, release_ended, release_left_before};
pub(super) use registration::move_to;

use super::alerts::{Told, alert_id};
use super::batch::Batch;
use super::bounds::{
    EVALUATION_MAX_S, FORKS_MAX, FORKS_WINDOW_MS, MACHINES_MAX, NAME_BYTES_MAX, NONCES_MAX, RETIRED_KEYS_MAX, SEQ_MAX,
    SKEW_MAX_MS, TAGS_PER_REQUEST_MAX, TIME_MAX,
};
use super::message::{AgentReply, AgentRequest, Caller, Message, refusal};
use super::record::{AlertKind, Instance, InstanceState, Machine, Record, RetiredKey, RetiredReason, Severity};
use super::{Change, Domain, EvalPolicy, InstanceEvent, InstanceEventKind, InstanceId, RecordKey, RecordKind};
use crate::protocol::{Acknowledged, AnswerHeader, Entropy, InstanceInfo, PublicKey, RefusalCode, RequestHeader};
use crate::units::UnixMillis;
use crate::units::when::{iso, when};

/// Why a message is refused.
pub(super) struct Denied {
    code: RefusalCode,
    text: String,
}

impl Denied {
    /// For people.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

pub(super) fn denied(code: RefusalCode, text: impl Into<String>) -> Denied {
    Denied { code, text: text.into() }
}

/// What stays the same while one message is taken.
struct Taking<'a> {
    header: &'a RequestHeader,
    caller: &'a Caller,
    signer: PublicKey,
    now: UnixMillis,
}

impl Domain {
    /// Takes one message of an agent. Its signature is verified; whether the key is the instance's is judged here.
    #[must_use]
    pub fn agent(
        &mut self,
        request: &AgentRequest,
        caller: &Caller,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> (AgentReply, Vec<Change>) {
        self.messages = self.messages.saturating_add(1);
        let mut batch = Batch::default();
        let taking = Taking { header: request.header(), caller, signer: request.signer, now };
        let outcome = match &request.message {
            Message::Registration(message) => self.register(&taking, message, entropy, &mut batch),
            Message::Entitlement(message) => self.entitle(&taking, message, &mut batch),
            Message::Report(message) => self.take_report(&taking, message, &mut batch),
            Message::Renew(message, key) => self.renew(&taking, message, *key, entropy, &mut batch),
            Message::Deregistration(message) => self.deregister(&taking, message, &mut batch),
            Message::Ack(message) => self.acknowledge(&taking, message, &mut batch),
        };
        self.tell_of_pools(now, entropy, &mut batch);
        let reply = outcome.unwrap_or_else(|Denied { code, text }| {
            let count = self.refusals.entry(code.name()).or_default();
            *count = count.saturating_add(1);
            AgentReply::Refused(Box::new(refusal(Some(taking.header), now, code, text)))
        });
        (reply, batch.changes)
    }

    /// The instance that sent this, with what every message changes already changed in the copy that is given back.
    fn admit(&mut self, taking: &Taking<'_>, message: &Admitted<'_>, batch: &mut Batch) -> Result<Instance, Denied> {
        let Taking { header, caller, signer, now } = *taking;
        check_header(header)?;
        let Some(known) = self.by_udi.get(&header.udi).and_then(|id| self.instances.get(id)) else {
            self.tell_of_unknown(taking, batch);
            // Nothing that would end the registration: a restored backup may be older than it.
            return Err(denied(
                RefusalCode::BadSignature,
                "no such product instance is known here; if the manager was restored from a backup, register again with a \
                 new token, or ask its operator",
            ));
        };
        let mut instance = known.clone();
        if signer != instance.key {
            if instance.pending.as_ref().is_some_and(|pending| pending.key == signer) {
                promote(&mut instance, now);
            } else {
                return Err(self.strange_key(instance, taking, batch));
            }
        }
        if !instance.state.is_registered() && !message.is_heard_when_gone() {
            let text =
                format!("the product instance is {} since {}", instance.state.name(), when(instance.state_since));
            return Err(denied(RefusalCode::InstanceRemoved, text));
        }
        // Before the certificate's end is judged: of two clocks that differ this one may be wrong.
        check_skew(header, now)?;
        if let Some(certificate) = &caller.certificate
            && certificate.not_after < now
            && !matches!(message, Admitted::Goodbye)
        {
            let text = format!("the id certificate ended at {}; now is {}", when(certificate.not_after), when(now));
            return Err(denied(RefusalCode::CertificateRevoked, text));
        }
        if instance.nonces.contains(&header.nonce) {
            return Err(denied(RefusalCode::Replayed, "this nonce was used before"));
        }
        if header.seq <= instance.message_seq {
            let text = format!("seq {}; accepted: above {}", header.seq, instance.message_seq);
            // Old numbers in new messages: somebody else counts on from the same state.
            if header.sent_at > instance.last_sent_at {
                self.forked(instance, now, batch);
            }
            return Err(denied(RefusalCode::Replayed, text));
        }
        message.fits(&instance)?;
        took(&mut instance, header, now);
        instance.acknowledged = true;
        if instance.state == InstanceState::Stale {
            instance.state = InstanceState::Registered;
            instance.state_since = now;
            self.clear_instance(instance.id, now, batch);
            batch.event(event(&instance, InstanceEventKind::CameBack, now, String::new()));
        }
        if instance.hostname.is_some() {
            instance.address = caller.address;
        }
        Ok(instance)
    }

    /// A message signed by a key that is not the instance's: it was once, or never.
    fn strange_key(&mut self, mut instance: Instance, taking: &Taking<'_>, batch: &mut Batch) -> Denied {
        let Taking { signer, now, .. } = *taking;
        match instance.retired.iter().find(|retired| retired.key == signer).map(|retired| retired.reason) {
            Some(RetiredReason::Superseded) => {
                if instance.state.is_registered() {
                    self.mark_duplicate(&mut instance, now, batch);
                    self.store(instance, batch);
                }
                denied(
                    RefusalCode::Duplicate,
                    "another host registered with this identity later; give this one an identity of its own and register it",
                )
            }
            Some(RetiredReason::Renewed) => {
                denied(RefusalCode::CertificateRevoked, "this key was replaced by the key of a renewal")
            }
            None => {
                self.tell_of_unknown(taking, batch);
                denied(
                    RefusalCode::BadSignature,
                    "the message is not signed by the key that is registered; if the manager was restored from a backup, \
                     register again with a new token and force, or ask its operator",
                )
            }
        }
    }

    /// Somebody shows a certificate that was issued here for an identity or a key that is not known: most likely a backup
    /// was restored that is older than it.
    fn tell_of_unknown(&mut self, taking: &Taking<'_>, batch: &mut Batch) {
        let Some(certificate) = &taking.caller.certificate else { return };
        let udi = &taking.header.udi;
        if certificate.key != taking.signer || certificate.udi != *udi {
            return;
        }
        let told = Told {
            kind: AlertKind::UnknownProductInstance,
            source_id: udi.to_string(),
            severity: Severity::Major,
            source: format!("/instances/{udi}"),
            virtual_account: None,
            text: format!("{udi} shows a certificate of this manager, which doesn't know of it"),
            action: "if a backup was restored, register this product instance again with a new token and force",
            due: Some(certificate.not_after.min(TIME_MAX)),
        };
        self.raise(told, taking.now, batch);
    }

    /// An old number in a new message: a host that was restored, which jumps ahead and does so no more; or one of two, which
    /// jump past each other for ever. Tries that follow each other without anything taken in between are one.
    fn forked(&mut self, mut instance: Instance, now: UnixMillis, batch: &mut Batch) {
        instance.forks = instance.forks.saturating_add(1);
        if instance.forks == 1 {
            instance.forked_at.retain(|at| now.0.saturating_sub(at.0) < FORKS_WINDOW_MS);
            instance.forked_at.push(now);
            let over = instance.forked_at.len().saturating_sub(FORKS_MAX);
            instance.forked_at.drain(..over);
        }
        if instance.forked_at.len() >= FORKS_MAX && instance.state.is_registered() {
            self.mark_duplicate(&mut instance, now, batch);
        }
        self.store(instance, batch);
    }

    fn mark_duplicate(&mut self, instance: &mut Instance, now: UnixMillis, batch: &mut Batch) {
        if instance.state != InstanceState::Duplicate {
            instance.state = InstanceState::Duplicate;
            instance.state_since = now;
            batch.event(event(instance, InstanceEventKind::Duplicate, now, String::new()));
        }
        let told = Told {
            kind: AlertKind::DuplicateLicenses,
            source_id: instance.id.to_string(),
            severity: Severity::Major,
            source: format!("/instances/{}", instance.id),
            virtual_account: Some(instance.virtual_account),
            text: format!("two hosts speak as {}", instance.udi),
            action: "find the copied host, give it an identity of its own, and register it",
            due: None,
        };
        self.raise(told, now, batch);
    }

    /// What every answer begins with.
    fn answer(&self, instance: &Instance, taking: &Taking<'_>) -> AnswerHeader {
        AnswerHeader {
            in_reply_to: taking.header.nonce,
            udi: instance.udi.clone(),
            seq: taking.header.seq,
            issued_at: taking.now,
            eval_used_s: self.eval_used(instance),
            next_contact_hint_s: None,
            policy_version: self.account.policy_version,
        }
    }

    /// Evaluation seconds used: by this identity, and where the policy gives none to a second one, by its machine.
    fn eval_used(&self, instance: &Instance) -> u64 {
        let machine = self.machines.get(&instance.fingerprint);
        let shared = match self.account.eval_policy {
            EvalPolicy::Allow => None,
            EvalPolicy::Deny | EvalPolicy::Ask => machine.filter(|machine| !machine.allowed),
        };
        shared.map_or(instance.eval_used_s, |machine| instance.eval_used_s.max(machine.eval_used_s))
    }

    /// Notes the evaluation that an agent says it used. It never becomes less. A machine learns of it by those of its
    /// identities that registered on it: one that merely says to be on another machine now uses up nothing there.
    fn note_evaluation(&mut self, instance: &mut Instance, eval_used_s: u64, arrives: bool, batch: &mut Batch) {
        instance.eval_used_s = instance.eval_used_s.max(eval_used_s);
        if instance.fingerprint.is_empty() {
            return;
        }
        let old = self.machines.get(&instance.fingerprint);
        let is_its = old.is_none_or(|machine| machine.instances.contains(&instance.id));
        if !(is_its || arrives) || (old.is_none() && self.machines.len() >= MACHINES_MAX) {
            return;
        }
        let mut machine = old.cloned().unwrap_or_else(|| Machine {
            fingerprint: instance.fingerprint.clone(),
            eval_used_s: 0,
            instances: Vec::new(),
            allowed: false,
        });
        machine.eval_used_s = machine.eval_used_s.max(instance.eval_used_s);
        if !machine.instances.contains(&instance.id) {
            machine.instances.push(instance.id);
            let over = machine.instances.len().saturating_sub(super::bounds::MACHINE_INSTANCES_MAX);
            machine.instances.drain(..over);
        }
        if old != Some(&machine) {
            batch.put(Record::Machine(machine.clone()));
            self.machines.insert(machine.fingerprint.clone(), machine);
        }
    }

    /// Takes over what an agent says of its host. An instance belongs to one machine at most.
    fn describe(
        &mut self,
        instance: &mut Instance,
        info: &InstanceInfo,
        caller: &Caller,
        now: UnixMillis,
        batch: &mut Batch,
    ) {
        if instance.fingerprint != info.fingerprint {
            self.detach(&instance.fingerprint, instance.id, now, batch);
            instance.fingerprint.clone_from(&info.fingerprint);
        }
        instance.hostname.clone_from(&info.hostname);
        instance.address = caller.address.filter(|_| info.hostname.is_some());
        instance.profile.clone_from(&info.profile);
        instance.version.clone_from(&info.version);
        instance.usage.clone_from(&info.usage);
        instance.tags.clone_from(&info.tags);
        instance.removal.clone_from(&info.removal);
    }

    /// An identity is no longer on a machine. What is remembered of the machine goes with its last identity.
    pub(super) fn detach(&mut self, fingerprint: &str, id: InstanceId, now: UnixMillis, batch: &mut Batch) {
        let Some(machine) = self.machines.get_mut(fingerprint) else { return };
        let before = machine.instances.len();
        machine.instances.retain(|other| *other != id);
        if machine.instances.len() == before {
            return;
        }
        if machine.instances.is_empty() {
            self.machines.remove(fingerprint);
            batch.remove(machine_key(fingerprint));
            self.clear(&alert_id(AlertKind::AuthorizationPending, fingerprint), now, batch);
        } else {
            batch.put(Record::Machine(machine.clone()));
        }
    }
}

/// Kinds of messages, as far as [`Domain::admit`] cares.
enum Admitted<'a> {
    Plain,
    Goodbye,
    /// With the new key.
    Renew(PublicKey),
    Ack(&'a Acknowledged),
}

impl Admitted<'_> {
    /// A goodbye said twice, and an acknowledgement that gives back what a gone instance held.
    const fn is_heard_when_gone(&self) -> bool {
        match self {
            Self::Plain | Self::Renew(_) => false,
            Self::Goodbye => true,
            Self::Ack(acknowledged) => matches!(acknowledged, Acknowledged::Grant { .. }),
        }
    }

    /// Whether what it says fits the instance that says it.
    fn fits(&self, instance: &Instance) -> Result<(), Denied> {
        match self {
            Self::Renew(key) if *key == instance.key => {
                Err(denied(RefusalCode::BadRequest, "the new key is the present one; make another"))
            }
            Self::Renew(key) if instance.retired.iter().any(|retired| retired.key == *key) => {
                Err(denied(RefusalCode::BadRequest, "the new key was this identity's before; make another"))
            }
            Self::Ack(Acknowledged::Registration { instance: named }) if *named != instance.id.to_string() => {
                let text = format!("found the instance {named:?}; accepted: {}", instance.id);
                Err(denied(RefusalCode::BadRequest, text))
            }
            Self::Plain | Self::Goodbye | Self::Renew(_) | Self::Ack(_) => Ok(()),
        }
    }
}

/// The key of a renewal was used: it is the instance's now.
fn promote(instance: &mut Instance, now: UnixMillis) {
    if let Some(pending) = instance.pending.take() {
        retire(instance, instance.key, RetiredReason::Renewed, now);
        instance.key = pending.key;
        instance.certificate = pending.certificate;
        instance.message_seq = 0;
    }
}

fn retire(instance: &mut Instance, key: PublicKey, reason: RetiredReason, now: UnixMillis) {
    instance.retired.retain(|retired| retired.key != key);
    instance.retired.push(RetiredKey { key, reason, at: now });
    let over = instance.retired.len().saturating_sub(RETIRED_KEYS_MAX);
    instance.retired.drain(..over);
}

/// Remembers a message, so that it is not taken twice.
fn took(instance: &mut Instance, header: &RequestHeader, now: UnixMillis) {
    instance.message_seq = header.seq;
    instance.last_sent_at = instance.last_sent_at.max(header.sent_at);
    instance.nonces.push(header.nonce);
    let over = instance.nonces.len().saturating_sub(NONCES_MAX);
    instance.nonces.drain(..over);
    instance.forks = 0;
    instance.last_contact = now;
    instance.agent_version.clone_from(&header.agent_version);
}

fn check_header(header: &RequestHeader) -> Result<(), Denied> {
    bounded("agent_version", &header.agent_version, NAME_BYTES_MAX)?;
    check_seq("seq", header.seq)
}

fn check_seq(field: &str, seq: u64) -> Result<(), Denied> {
    at_most(field, seq, SEQ_MAX)
}

fn check_skew(header: &RequestHeader, now: UnixMillis) -> Result<(), Denied> {
    if header.sent_at.0.abs_diff(now.0) <= SKEW_MAX_MS {
        return Ok(());
    }
    let text = format!(
        "sent at {}, and the manager's clock says {}; accepted: at most {} s apart",
        iso(header.sent_at),
        iso(now),
        SKEW_MAX_MS / 1000
    );
    Err(denied(RefusalCode::ClockSkew, text))
}

fn check_info(info: &InstanceInfo) -> Result<(), Denied> {
    bounded("hostname", info.hostname.as_deref().unwrap_or(""), 255)?;
    bounded("profile", &info.profile, NAME_BYTES_MAX)?;
    bounded("version", &info.version, NAME_BYTES_MAX)?;
    bounded("usage", &info.usage, NAME_BYTES_MAX)?;
    bounded("fingerprint", &info.fingerprint, NAME_BYTES_MAX)?;
    if let Some(removal) = &info.removal {
        bounded("expired_effect", &removal.expired_effect, NAME_BYTES_MAX)?;
        at_most("evaluation_s", removal.evaluation_s, EVALUATION_MAX_S)?;
        at_most("grace_s", removal.grace_s, EVALUATION_MAX_S)?;
    }
    check_tags(info.tags.iter().map(String::as_str))
}

/// At most 64 tags, each named, none twice.
fn check_tags<'a>(tags: impl Iterator<Item = &'a str>) -> Result<(), Denied> {
    let mut seen = std::collections::BTreeSet::new();
    for tag in tags {
        bounded("tag", tag, NAME_BYTES_MAX)?;
        if tag.is_empty() {
            return Err(denied(RefusalCode::BadRequest, "a tag without a name"));
        }
        if !seen.insert(tag) {
            return Err(denied(RefusalCode::BadRequest, format!("the tag {tag:?} twice; accepted: once")));
        }
        if seen.len() > TAGS_PER_REQUEST_MAX {
            return Err(denied(
                RefusalCode::BadRequest,
                format!("more than {TAGS_PER_REQUEST_MAX} tags; accepted: at most {TAGS_PER_REQUEST_MAX}"),
            ));
        }
    }
    Ok(())
}

/// A text that is not too long and has no control characters: what cannot be stored must not get in.
fn bounded(field: &str, text: &str, max: usize) -> Result<(), Denied> {
    if text.len() > max {
        let text = format!("{field}: found {} bytes; accepted: at most {max}", text.len());
        return Err(denied(RefusalCode::BadRequest, text));
    }
    if text.chars().any(char::is_control) {
        let text = format!("{field}: found {text:?}; accepted: a text without control characters");
        return Err(denied(RefusalCode::BadRequest, text));
    }
    Ok(())
}

/// A number that somebody claims.
fn at_most(field: &str, found: u64, max: u64) -> Result<(), Denied> {
    if found <= max {
        return Ok(());
    }
    Err(denied(RefusalCode::BadRequest, format!("{field}: found {found}; accepted: at most {max}")))
}

fn check_evaluation(eval_used_s: u64) -> Result<(), Denied> {
    at_most("eval_used_s", eval_used_s, EVALUATION_MAX_S)
}

/// What an agent holds that the manager, being restored, doesn't know that it gave: numbers go on behind it, epochs with the
/// next grant.
fn catch_up(instance: &mut Instance, last_grant_seq: u64) {
    if last_grant_seq <= instance.grant_seq {
        return;
    }
    instance.grant_seq = last_grant_seq;
    let left = instance.leaving.iter_mut().flat_map(|left| left.entitlements.iter_mut());
    instance.entitlements.iter_mut().chain(left).for_each(|one| one.epoch = 0);
}

pub(super) fn event(
    instance: &Instance,
    what: InstanceEventKind,
    now: UnixMillis,
    detail: impl Into<String>,
) -> InstanceEvent {
    InstanceEvent {
        at: now,
        instance: instance.id,
        udi: instance.udi.clone(),
        what,
        virtual_account: instance.virtual_account,
        state: instance.state,
        detail: detail.into(),
    }
}

/// The key of a machine's record.
pub(super) fn machine_key(fingerprint: &str) -> RecordKey {
    RecordKey { kind: RecordKind::Machine, id: fingerprint.to_owned() }
}
