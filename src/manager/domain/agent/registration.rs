//! Registration: by what right, as whom, and where.

use super::super::alerts::{Told, alert_id};
use super::super::batch::Batch;
use super::super::bounds::{CERTIFICATE_MS, DAY_MS, INSTANCES_MAX, LEAVING_MAX, SAME_CERTIFICATE_MS, SKEW_MAX_MS};
use super::super::message::{AgentReply, IssueCertificate, Registered};
use super::super::record::{
    AlertKind, Certificate, EvalPolicy, Instance, InstanceState, Leaving, Record, RetiredReason, Severity, Token,
};
use super::super::view::TokenState;
use super::super::{Domain, InstanceEventKind, InstanceId, VirtualAccountId};
use super::goodbye::{fence, held_until};
use super::{
    Denied, Taking, catch_up, check_evaluation, check_header, check_info, check_seq, check_skew, denied, event,
    promote, retire, took,
};
use crate::protocol::{Entropy, RefusalCode, RegistrationRequest};
use crate::units::UnixMillis;
use crate::units::when::when;

impl Domain {
    /// Registers an instance. By (UDI, key) it does so once: an answer that was lost is given again, with the same
    /// certificate, and no second use of the token is counted.
    pub(super) fn register(
        &mut self,
        taking: &Taking<'_>,
        request: &RegistrationRequest,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        let now = taking.now;
        check_header(taking.header)?;
        check_info(&request.info)?;
        check_seq("last_grant_seq", request.last_grant_seq)?;
        check_evaluation(request.eval_used_s)?;
        check_skew(taking.header, now)?;
        let token = self.token_by_hash.get(&request.token.hash()).and_then(|id| self.tokens.get(id)).cloned();
        let Some(mut token) = token else {
            return Err(denied(RefusalCode::TokenUnknown, "no such token; copy it again, or make a new one"));
        };
        let known = self.by_udi.get(&taking.header.udi).and_then(|id| self.instances.get(id)).cloned();
        let earlier = known.as_ref().filter(|known| known.state.is_registered());
        let same_key = earlier.is_some_and(|known| has_key(known, taking));
        let again = same_key && earlier.is_some_and(|known| known.virtual_account == token.virtual_account);
        if let Some(known) = known.as_ref().filter(|known| has_key(known, taking)) {
            not_replayed(known, taking)?;
        }
        let by_this_token = earlier.filter(|known| again && known.token == Some(token.id));
        usable(&token, by_this_token, now)?;
        self.fits(&token, request, taking)?;
        if let Some(known) = earlier.filter(|_| !again && !request.force) {
            let name = self.virtual_accounts.get(&known.virtual_account).map_or("another", |found| found.name.as_str());
            let text = if same_key {
                format!("this identity is registered in the virtual account {name:?}; force moves it")
            } else {
                format!("this identity is registered in {name:?} with another key; force takes it over")
            };
            return Err(denied(RefusalCode::AlreadyRegistered, text));
        }
        if known.is_none() {
            self.machine_may(request, taking, now, batch)?;
            if self.instances.len() >= INSTANCES_MAX {
                let text = format!("the manager holds {INSTANCES_MAX} product instances and takes no more");
                return Err(denied(RefusalCode::Busy, text));
            }
        }

        // Another host, or one that begins anew: what evaluation it used, it used on the machine that it is on now.
        let arrives = !same_key;
        let (mut instance, what) = match known {
            Some(mut known) if again => {
                if known.key == taking.signer {
                    known.pending = None;
                } else {
                    promote(&mut known, now);
                }
                (known, None)
            }
            Some(known) => self.taken_up(known, taking, token.virtual_account)?,
            None => {
                let id = self.fresh_id(entropy);
                (new_instance(id, taking, &token, request), Some(InstanceEventKind::Registered))
            }
        };
        took(&mut instance, taking.header, now);
        self.describe(&mut instance, &request.info, taking.caller, now, batch);
        instance.export_allowed = token.export_allowed && self.account.export_permitted;
        catch_up(&mut instance, request.last_grant_seq);
        if what.is_some() || !keeps_certificate(&instance, now) {
            instance.certificate = new_certificate(now, entropy);
        }
        instance.acknowledged = false;
        if let Some(what) = what {
            instance.token = Some(token.id);
            self.clear_instance(instance.id, now, batch);
            token.uses = token.uses.saturating_add(1);
            token.last_used_at = Some(now);
            batch.event(event(&instance, what, now, format!("token {}", token.id)));
            batch.put(Record::Token(token.clone()));
            self.tokens.insert(token.id, token);
        } else if instance.state == InstanceState::Stale {
            instance.state = InstanceState::Registered;
            instance.state_since = now;
            self.clear_instance(instance.id, now, batch);
        }
        self.clear(&alert_id(AlertKind::UnknownProductInstance, &instance.udi.to_string()), now, batch);
        self.note_evaluation(&mut instance, request.eval_used_s, arrives, batch);
        let reply = Registered {
            header: self.answer(&instance, taking),
            instance: instance.id,
            account: self.account.name.clone(),
            virtual_account: self.name_of(instance.virtual_account),
            export_allowed: instance.export_allowed,
            certificate: IssueCertificate {
                udi: instance.udi.clone(),
                key: instance.key,
                certificate: instance.certificate.clone(),
            },
        };
        self.store(instance, batch);
        Ok(AgentReply::Registered(Box::new(reply)))
    }

    pub(in super::super) fn name_of(&self, account: VirtualAccountId) -> String {
        self.virtual_accounts.get(&account).map(|account| account.name.clone()).unwrap_or_default()
    }

    fn fresh_id(&self, entropy: &mut Entropy) -> InstanceId {
        loop {
            let id = InstanceId::generate(entropy);
            if !self.instances.contains_key(&id) {
                return id;
            }
        }
    }

    /// Whether token and account are for this product and this network.
    fn fits(&self, token: &Token, request: &RegistrationRequest, taking: &Taking<'_>) -> Result<(), Denied> {
        let (profile, pid) = (request.info.profile.as_str(), taking.header.udi.pid());
        let named = |products: &[String]| products.iter().any(|name| name == profile || name == pid);
        if !token.products.is_empty() && !named(&token.products) {
            let text = format!("found the product {profile} ({pid}); the token is for: {}", token.products.join(", "));
            return Err(denied(RefusalCode::TokenNotForProduct, text));
        }
        if !token.networks.is_empty() {
            let from = taking.caller.address;
            if !from.is_some_and(|address| token.networks.iter().any(|network| network.contains(address))) {
                let from = from.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
                let text = format!("the token is not for registrations from {from}");
                return Err(denied(RefusalCode::TokenNotFromHere, text));
            }
        }
        if !self.account.products.is_empty() && !named(&self.account.products) {
            let accepted = self.account.products.join(", ");
            let text = format!("found the product {profile} ({pid}); the account holds: {accepted}");
            return Err(denied(RefusalCode::ProductNotAllowed, text));
        }
        Ok(())
    }

    /// Whether a new identity of this machine may register.
    fn machine_may(
        &mut self,
        request: &RegistrationRequest,
        taking: &Taking<'_>,
        now: UnixMillis,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let fingerprint = &request.info.fingerprint;
        let Some(machine) = self.machines.get(fingerprint).filter(|machine| !machine.allowed) else { return Ok(()) };
        let Some(first) = machine.instances.first().copied() else { return Ok(()) };
        match self.account.eval_policy {
            EvalPolicy::Allow => Ok(()),
            EvalPolicy::Deny => Err(denied(
                RefusalCode::MachineKnown,
                "this machine registered with another identity before, and the account allows one identity for each machine",
            )),
            EvalPolicy::Ask => {
                let told = Told {
                    kind: AlertKind::AuthorizationPending,
                    source_id: fingerprint.clone(),
                    severity: Severity::Warning,
                    source: format!("/instances/{first}"),
                    virtual_account: None,
                    text: format!(
                        "{} wants to register on the machine {fingerprint}, known by {first}",
                        taking.header.udi
                    ),
                    action: "allow the machine further identities, or leave it refused",
                    due: None,
                };
                self.raise(told, now, batch);
                Err(denied(
                    RefusalCode::MachineKnown,
                    "this machine registered with another identity before, and an operator must allow another first",
                ))
            }
        }
    }

    /// A known instance that registers with another key, in another virtual account, or after it was gone.
    fn taken_up(
        &self,
        mut known: Instance,
        taking: &Taking<'_>,
        account: VirtualAccountId,
    ) -> Result<(Instance, Option<InstanceEventKind>), Denied> {
        let now = taking.now;
        let registered = known.state.is_registered();
        let what = if known.key != taking.signer && registered {
            InstanceEventKind::TakenOver
        } else if registered && known.virtual_account != account {
            InstanceEventKind::Moved
        } else {
            InstanceEventKind::Registered
        };
        if known.key != taking.signer {
            if let Some(pending) = known.pending.take().filter(|pending| pending.key != taking.signer) {
                retire(&mut known, pending.key, RetiredReason::Superseded, now);
            }
            let old = known.key;
            retire(&mut known, old, RetiredReason::Superseded, now);
            known.key = taking.signer;
            known.forked_at.clear();
            known.retired.retain(|retired| retired.key != taking.signer);
            // The new host asked for nothing yet, and cannot acknowledge for the old one.
            fence(&mut known)?;
        }
        if known.virtual_account != account {
            move_to(&mut known, account, now)?;
        }
        known.registered_at = now;
        known.state = InstanceState::Registered;
        known.state_since = now;
        Ok((known, Some(what)))
    }
}

fn has_key(known: &Instance, taking: &Taking<'_>) -> bool {
    known.key == taking.signer || known.pending.as_ref().is_some_and(|pending| pending.key == taking.signer)
}

/// A registration may count from anew, as after a restore of the host; but none is taken twice, and none from before the
/// last message.
fn not_replayed(known: &Instance, taking: &Taking<'_>) -> Result<(), Denied> {
    let header = taking.header;
    let old = header.seq <= known.message_seq && header.sent_at <= known.last_sent_at;
    if known.nonces.contains(&header.nonce) || old {
        return Err(denied(RefusalCode::Replayed, "this registration was sent before"));
    }
    Ok(())
}

/// Whether the token registers. For the instance that it registered it answers again after it was used up, and after its
/// end as long as the answer has not arrived.
fn usable(token: &Token, by_this_token: Option<&Instance>, now: UnixMillis) -> Result<(), Denied> {
    let lost = by_this_token.is_some_and(|known| !known.acknowledged);
    match token.state(now) {
        TokenState::Active => Ok(()),
        TokenState::Revoked | TokenState::Expired if lost => Ok(()),
        TokenState::UsedUp if by_this_token.is_some() => Ok(()),
        TokenState::Revoked => Err(denied(RefusalCode::TokenRevoked, "the token was revoked; make a new one")),
        TokenState::Expired => {
            let text = format!("the token ended on {}; make a new one", when(token.expires_at));
            Err(denied(RefusalCode::TokenExpired, text))
        }
        TokenState::UsedUp => {
            let text =
                format!("the token registered {} instances and may register no more; make a new one", token.uses);
            Err(denied(RefusalCode::TokenUsedUp, text))
        }
    }
}

/// Leaves what an instance has where it is, counted, and empty hands where it goes to.
pub(in super::super) fn move_to(
    instance: &mut Instance,
    account: VirtualAccountId,
    now: UnixMillis,
) -> Result<(), Denied> {
    let back = instance.leaving.iter().position(|left| left.virtual_account == account);
    if back.is_none() && instance.leaving.len() >= LEAVING_MAX {
        let text = format!("it is leaving {LEAVING_MAX} virtual accounts already; wait until that is done");
        return Err(denied(RefusalCode::Busy, text));
    }
    let mut here = Vec::new();
    if let Some(back) = back {
        here = instance.leaving.remove(back).entitlements;
        here.retain(|one| one.held > 0);
        // Their counts change, and so do their epochs: the next grant tells of them again.
        instance.grant_seq = instance.grant_seq.saturating_add(1);
        let seq = instance.grant_seq;
        here.iter_mut().for_each(|one| (one.requested, one.granted, one.cap, one.epoch) = (0, 0, 0, seq));
    }
    let until = held_until(instance);
    let mut entitlements = std::mem::replace(&mut instance.entitlements, here);
    for one in entitlements.iter_mut().filter(|one| one.held > 0 && one.held == one.granted) {
        one.held_until = until;
    }
    if !entitlements.is_empty() {
        instance.leaving.push(Leaving {
            virtual_account: instance.virtual_account,
            registered_at: instance.registered_at,
            since: now,
            entitlements,
        });
    }
    instance.virtual_account = account;
    Ok(())
}

fn keeps_certificate(instance: &Instance, now: UnixMillis) -> bool {
    let certificate = &instance.certificate;
    let fresh = now.0 < certificate.not_before.0.saturating_add(SAME_CERTIFICATE_MS + SKEW_MAX_MS);
    let lasts = now.0.saturating_add(30 * DAY_MS) < certificate.not_after.0;
    lasts && (fresh || !instance.acknowledged)
}

/// A new certificate: 128 random bits as serial number (RFC 5280 wants it positive and at most 20 octets).
pub(super) fn new_certificate(now: UnixMillis, entropy: &mut Entropy) -> Certificate {
    let mut serial = entropy.bytes::<16>();
    serial[0] = serial[0] & 0x3f | 0x40;
    Certificate {
        serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: now,
        not_after: UnixMillis(now.0.saturating_add(CERTIFICATE_MS)),
    }
}

fn new_instance(id: InstanceId, taking: &Taking<'_>, token: &Token, request: &RegistrationRequest) -> Instance {
    Instance {
        id,
        udi: taking.header.udi.clone(),
        virtual_account: token.virtual_account,
        state: InstanceState::Registered,
        state_since: taking.now,
        key: taking.signer,
        pending: None,
        retired: Vec::new(),
        certificate: Certificate { serial: String::new(), not_before: UnixMillis(0), not_after: UnixMillis(0) },
        acknowledged: false,
        token: Some(token.id),
        export_allowed: false,
        hostname: None,
        address: None,
        profile: String::new(),
        version: String::new(),
        agent_version: String::new(),
        usage: String::new(),
        tags: Vec::new(),
        fingerprint: String::new(),
        removal: None,
        priority: 0,
        note: String::new(),
        registered_at: taking.now,
        last_contact: taking.now,
        last_report: None,
        message_seq: 0,
        last_sent_at: UnixMillis(0),
        nonces: Vec::new(),
        forks: 0,
        forked_at: Vec::new(),
        grant_seq: request.last_grant_seq,
        grant_expires_at: None,
        entitlements: Vec::new(),
        leaving: Vec::new(),
        fenced: Vec::new(),
        eval_used_s: 0,
        rehost_prepared_at: None,
    }
}
