//! A manager with its store, and hosts that talk to it; time stands still unless a test moves it.

use std::collections::BTreeMap;

use crate::manager::domain::message::Message;
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;

pub(super) const DAY: u64 = bounds::DAY_MS;
pub(super) const START: u64 = 1_800_000_000_000;

pub(super) struct Desk {
    pub(super) domain: Domain,
    pub(super) store: BTreeMap<RecordKey, Record>,
    pub(super) journal: Vec<Journal>,
    pub(super) now: UnixMillis,
    pub(super) entropy: Entropy,
}

impl Desk {
    pub(super) fn new() -> Self {
        let (now, mut entropy) = (UnixMillis(START), Entropy::from_seed([9; 32]));
        let (domain, changes) = Domain::found("Example", now, &mut entropy);
        let mut desk = Self { domain, store: BTreeMap::new(), journal: Vec::new(), now, entropy };
        desk.commit(changes);
        desk
    }

    pub(super) fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(record) => {
                    // As a store would: through the body.
                    let (key, body) = (record.key(), record.body().unwrap());
                    self.store.insert(key.clone(), Record::parse(key.kind, &body).unwrap());
                }
                Change::Remove(key) => assert!(self.store.remove(&key).is_some(), "{key} was not there"),
                Change::Append(journal) => self.journal.push(journal),
            }
        }
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now.0 += millis;
    }

    pub(super) fn try_command(
        &mut self,
        actor: &Actor,
        command: OperatorCommand,
    ) -> Result<OperatorReply, OperatorRefused> {
        let before: Vec<_> = self.domain.records().collect();
        match self.domain.operator(actor, command, self.now, &mut self.entropy) {
            Ok((reply, changes)) => {
                self.commit(changes);
                Ok(reply)
            }
            Err(refused) => {
                assert_eq!(self.domain.records().collect::<Vec<_>>(), before, "a refused command changed something");
                Err(refused)
            }
        }
    }

    pub(super) fn command(&mut self, command: OperatorCommand) -> OperatorReply {
        self.try_command(&Actor::system(), command).unwrap()
    }

    pub(super) fn account(&mut self, name: &str) -> VirtualAccountId {
        let new = NewVirtualAccount { name: name.to_owned(), description: String::new() };
        let reply = self.command(OperatorCommand::CreateVirtualAccount(new));
        let OperatorReply::VirtualAccount(view) = reply else { panic!("{reply:?}") };
        view.id
    }

    pub(super) fn default(&self) -> VirtualAccountId {
        self.domain.account().default_virtual_account
    }

    pub(super) fn token_with(&mut self, new: NewToken) -> (TokenId, RegistrationToken) {
        let reply = self.command(OperatorCommand::CreateToken(new));
        let OperatorReply::Token(view, Some(secret)) = reply else { panic!("{reply:?}") };
        (view.id, secret)
    }

    /// A token of any number of uses.
    pub(super) fn token(&mut self, account: VirtualAccountId) -> RegistrationToken {
        self.token_with(NewToken { virtual_account: Some(account), max_uses: None, ..NewToken::default() }).1
    }

    pub(super) fn buy(&mut self, account: VirtualAccountId, tag: &str, quantity: u64) -> LotId {
        self.buy_until(account, tag, quantity, None)
    }

    pub(super) fn buy_until(
        &mut self,
        account: VirtualAccountId,
        tag: &str,
        quantity: u64,
        end: Option<UnixMillis>,
    ) -> LotId {
        let new =
            NewLot { virtual_account: Some(account), tag: tag.into(), quantity, start: None, end, note: String::new() };
        let reply = self.command(OperatorCommand::AddLot(new));
        let OperatorReply::Lot(view) = reply else { panic!("{reply:?}") };
        view.id
    }

    pub(super) fn tag(&mut self, tag: &str, class: TagClass, level: Option<u8>, overage: Option<OverageStrategy>) {
        let overage = overage.map(|strategy| Overage { strategy, tolerance_minutes: 0, billed: false });
        self.command(OperatorCommand::DefineTag(TagDefinition {
            tag: tag.to_owned(),
            display_name: tag.to_owned(),
            description: String::new(),
            class,
            tier: level.map(|level| Tier { family: "agents".to_owned(), level }),
            overage,
        }));
    }

    pub(super) fn policy(&mut self, patch: PolicyPatch) {
        self.command(OperatorCommand::SetPolicy(patch));
    }

    pub(super) fn housekeep(&mut self) {
        let changes = self.domain.housekeep(self.now, &mut self.entropy);
        self.commit(changes);
    }

    pub(super) fn take(&mut self, request: &AgentRequest, caller: &Caller) -> AgentReply {
        let (reply, changes) = self.domain.agent(request, caller, self.now, &mut self.entropy);
        self.commit(changes);
        reply
    }

    pub(super) fn instance(&self, host: &Host) -> &Instance {
        let id = self.domain.by_udi.get(&host.udi).unwrap();
        self.domain.instances.get(id).unwrap()
    }

    pub(super) fn in_use(&self, account: VirtualAccountId, tag: &str) -> u64 {
        self.domain.standing(account, tag, self.now).in_use
    }

    pub(super) fn held(&self, account: VirtualAccountId, tag: &str) -> u64 {
        self.domain.standing(account, tag, self.now).held
    }

    pub(super) fn alerts(&self) -> Vec<AlertKind> {
        self.domain.alerts.values().map(|alert| alert.kind).collect()
    }

    /// What is stored makes the state that is in memory, and the sums are what they should be.
    pub(super) fn check(&self) {
        let loaded = Domain::load(self.store.values().cloned()).unwrap();
        assert_eq!(loaded.records().collect::<Vec<_>>(), self.domain.records().collect::<Vec<_>>());
        assert_eq!(loaded.by_udi, self.domain.by_udi);
        assert_eq!(loaded.token_by_hash, self.domain.token_by_hash);
        assert_eq!(loaded.api_key_by_hash, self.domain.api_key_by_hash);
        assert_eq!(loaded.books.states, self.domain.books.states);
        assert_eq!(loaded.books.registered, self.domain.books.registered);
        assert_eq!(loaded.books.members, self.domain.books.members);
        let sums = |domain: &Domain| -> Vec<_> {
            let pools = domain.books.pools();
            pools
                .map(|(account, tag, pool)| {
                    (
                        account,
                        tag.clone(),
                        pool.purchased(self.now),
                        pool.in_use,
                        pool.held,
                        pool.lots(),
                        pool.order.all(),
                    )
                })
                .collect()
        };
        assert_eq!(sums(&loaded), sums(&self.domain));
        let entries = self.journal.iter().filter_map(|journal| match journal {
            Journal::Audit(entry) => Some(entry),
            Journal::Usage(_)
            | Journal::Transfer(_)
            | Journal::Event(_)
            | Journal::AlertEnded(_)
            | Journal::Report(_) => None,
        });
        assert_eq!(AuditHead::default().verify(entries).as_ref(), Ok(self.domain.audit_head()));
    }
}

/// A host with an agent on it.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) udi: Udi,
    pub(super) key: SecretKey,
    pub(super) seq: u64,
    pub(super) grant_seq: u64,
    pub(super) eval_used_s: u64,
    pub(super) info: InstanceInfo,
    pub(super) caller: Caller,
    pub(super) entropy: Entropy,
    /// Milliseconds by which its clock is ahead.
    pub(super) ahead: i64,
}

impl Host {
    pub(super) fn new(number: u8) -> Self {
        let mut entropy = Entropy::from_seed([number; 32]);
        let udi = Udi::generate("callgate", &mut entropy);
        let key = SecretKey::from_seed(entropy.bytes());
        let info = InstanceInfo {
            hostname: Some(format!("sip-{number}")),
            profile: "open".to_owned(),
            version: "1".to_owned(),
            tags: vec!["cps".to_owned()],
            usage: "production".to_owned(),
            fingerprint: format!("machine-{number}"),
            removal: None,
        };
        let caller = Caller { address: Some("192.0.2.7".parse().unwrap()), certificate: None };
        Self { udi, key, seq: 0, grant_seq: 0, eval_used_s: 0, info, caller, entropy, ahead: 0 }
    }

    pub(super) fn header(&mut self, desk: &Desk) -> RequestHeader {
        self.seq += 1;
        RequestHeader {
            udi: self.udi.clone(),
            seq: self.seq,
            nonce: Nonce::generate(&mut self.entropy),
            sent_at: UnixMillis(desk.now.0.saturating_add_signed(self.ahead)),
            agent_version: "1.0".to_owned(),
        }
    }

    pub(super) fn registration(&mut self, desk: &Desk, token: &RegistrationToken, force: bool) -> AgentRequest {
        let request = RegistrationRequest {
            header: self.header(desk),
            token: token.clone(),
            certificate_request_b64: certificate_request(&self.udi, &self.key).unwrap(),
            info: self.info.clone(),
            force,
            eval_used_s: self.eval_used_s,
            last_grant_seq: self.grant_seq,
        };
        self.signed(Message::Registration(Box::new(request)))
    }

    pub(super) fn signed(&self, message: Message) -> AgentRequest {
        AgentRequest { message, signer: self.key.public() }
    }

    pub(super) fn try_register(
        &mut self,
        desk: &mut Desk,
        token: &RegistrationToken,
        force: bool,
    ) -> Result<Registered, RefusalCode> {
        let request = self.registration(desk, token, force);
        let reply = desk.take(&request, &self.caller);
        if let AgentReply::Registered(answer) = reply { Ok(*answer) } else { Err(code_of(&reply)) }
    }

    /// Registers, and says that the answer arrived.
    pub(super) fn register(&mut self, desk: &mut Desk, token: &RegistrationToken) -> Registered {
        let answer = self.try_register(desk, token, false).unwrap();
        let instance = answer.instance.to_string();
        self.ack(desk, Acknowledged::Registration { instance }).unwrap();
        answer
    }

    pub(super) fn entitlement(&mut self, desk: &Desk, tags: &[(&str, u64)]) -> AgentRequest {
        let tags = tags.iter().map(|(tag, requested)| TagRequest {
            tag: (*tag).to_owned(),
            requested: *requested,
            optional: false,
        });
        let request = EntitlementRequest {
            header: self.header(desk),
            tags: tags.collect(),
            eval_used_s: self.eval_used_s,
            last_grant_seq: self.grant_seq,
        };
        self.signed(Message::Entitlement(request))
    }

    pub(super) fn try_ask(&mut self, desk: &mut Desk, tags: &[(&str, u64)]) -> Result<Grant, RefusalCode> {
        let request = self.entitlement(desk, tags);
        self.granted(desk, &request)
    }

    pub(super) fn granted(&mut self, desk: &mut Desk, request: &AgentRequest) -> Result<Grant, RefusalCode> {
        let reply = desk.take(request, &self.caller);
        let AgentReply::Granted(answer) = reply else { return Err(code_of(&reply)) };
        assert!(answer.grant.seq > self.grant_seq, "a grant's seq rises");
        self.grant_seq = answer.grant.seq;
        Ok(answer.grant)
    }

    pub(super) fn ask(&mut self, desk: &mut Desk, tag: &str, requested: u64) -> TagGrant {
        self.try_ask(desk, &[(tag, requested)]).unwrap().tags.remove(0)
    }

    pub(super) fn report(
        &mut self,
        desk: &mut Desk,
        tag: &str,
        requested: u64,
        peak: u64,
    ) -> Result<Grant, RefusalCode> {
        let tag = TagReport {
            tag: tag.to_owned(),
            requested,
            reported: peak.min(requested),
            observed_peak: peak,
            peak_at: Some(desk.now),
            p95: peak / 2,
            samples: 24,
            next: None,
            lent_used: 0,
        };
        let request = ReportRequest {
            header: self.header(desk),
            from: UnixMillis(desk.now.0 - 1000),
            until: desk.now,
            tags: vec![tag],
            eval_used_s: self.eval_used_s,
            last_grant_seq: self.grant_seq,
        };
        let request = self.signed(Message::Report(request));
        self.granted(desk, &request)
    }

    pub(super) fn ack(&mut self, desk: &mut Desk, acknowledged: Acknowledged) -> Result<(), RefusalCode> {
        let request = Acknowledgement { header: self.header(desk), acknowledged };
        let request = self.signed(Message::Ack(request));
        done(desk.take(&request, &self.caller))
    }

    pub(super) fn in_force(&mut self, desk: &mut Desk, grant: &TagGrant) {
        let (tag, epoch, effective) = (grant.tag.clone(), grant.epoch, grant.granted);
        self.ack(desk, Acknowledged::Grant { tag, epoch, effective }).unwrap();
    }

    pub(super) fn goodbye(&mut self, desk: &mut Desk, account: &str) -> Result<(), RefusalCode> {
        let request = DeregistrationRequest {
            header: self.header(desk),
            virtual_account: account.to_owned(),
            eval_used_s: self.eval_used_s,
        };
        let request = self.signed(Message::Deregistration(request));
        done(desk.take(&request, &self.caller))
    }

    pub(super) fn renew(&mut self, desk: &mut Desk, new_key: &SecretKey) -> Result<Renewed, RefusalCode> {
        let request = RenewRequest {
            header: self.header(desk),
            certificate_request_b64: certificate_request(&self.udi, new_key).unwrap(),
            info: self.info.clone(),
        };
        let request = self.signed(Message::Renew(Box::new(request), new_key.public()));
        let reply = desk.take(&request, &self.caller);
        if let AgentReply::Renewed(answer) = reply { Ok(*answer) } else { Err(code_of(&reply)) }
    }
}

fn done(reply: AgentReply) -> Result<(), RefusalCode> {
    let done = matches!(reply, AgentReply::Deregistered(_) | AgentReply::Acknowledged(_));
    if done { Ok(()) } else { Err(code_of(&reply)) }
}

fn code_of(reply: &AgentReply) -> RefusalCode {
    let AgentReply::Refused(refusal) = reply else { panic!("{reply:?}") };
    refusal.code
}
