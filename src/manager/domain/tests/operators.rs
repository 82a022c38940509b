//! What operators may do, and what becomes of it.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;

fn as_role(role: Role) -> Actor {
    Actor { name: format!("user:{}", role.name()), role, address: None }
}

#[test]
fn each_role_may_what_the_table_says_and_no_more() {
    let mut desk = Desk::new();
    let va = desk.default();
    let pi: InstanceId = "pi-0000000000000001".parse().unwrap();
    let tag = TagDefinition {
        tag: "t".into(),
        display_name: "T".into(),
        description: String::new(),
        class: TagClass::License,
        tier: None,
        overage: None,
    };
    let new = || NewVirtualAccount { name: "Z".into(), description: String::new() };
    let lot: LotId = "lot-0000000000000001".parse().unwrap();
    let user: UserId = "us-0000000000000001".parse().unwrap();
    let key = SecretKey::from_seed([1; 32]).public();
    let meta = KeyMeta {
        kid: key.id().to_string(),
        key,
        key_use: None,
        not_before: desk.now,
        not_after: desk.now,
        state: KeyState::Active,
        created_at: desk.now,
    };
    use OperatorCommand as C;
    use Role::{LicenseAdmin, Operator, Owner};
    let rows = [
        (Operator, C::AcknowledgeAlert("none".into())),
        (Operator, C::RunReport(ReportKind::Inventory, None)),
        (Operator, C::CreateToken(NewToken::default())),
        (Operator, C::RevokeToken("tk-0000000000000001".parse().unwrap())),
        (Operator, C::RemoveToken("tk-0000000000000001".parse().unwrap())),
        (Operator, C::UpdateInstance(pi, InstancePatch::default())),
        (Operator, C::RemoveInstance { instance: pi, confirm: None }),
        (LicenseAdmin, C::TransferInstance { instance: pi, to: va }),
        (LicenseAdmin, C::ForgetInstance(pi)),
        (LicenseAdmin, C::PrepareRehost { instance: pi, prepare: true }),
        (LicenseAdmin, C::AllowMachine { fingerprint: "f".into(), allow: true }),
        (LicenseAdmin, C::CreateVirtualAccount(new())),
        (LicenseAdmin, C::UpdateVirtualAccount(va, new())),
        (LicenseAdmin, C::RemoveVirtualAccount(va)),
        (LicenseAdmin, C::DefineTag(tag)),
        (LicenseAdmin, C::RemoveTag("none".into())),
        (LicenseAdmin, C::RemoveLot(lot)),
        (LicenseAdmin, C::TransferLicenses(Transfer { lot, to: va, quantity: 1 })),
        (Owner, C::SetPolicy(PolicyPatch::default())),
        (Owner, C::CreateUser(NewUser { name: "u".into(), role: Owner, password_hash: PasswordHash("h".into()) })),
        (Owner, C::UpdateUser(user, UserPatch::default())),
        (Owner, C::RemoveUser(user)),
        (Owner, C::CreateApiKey(NewApiKey { name: "k".into(), role: Owner, days: None })),
        (Owner, C::RevokeApiKey("ak-0000000000000001".parse().unwrap())),
        (Owner, C::PutKey(meta)),
        (Owner, C::PutSetting(Setting { name: "s".into(), value: "v".into() })),
    ];
    for (needs, command) in rows {
        for role in Role::ALL {
            let mut domain = desk.domain.clone();
            let outcome = domain.operator(&as_role(role), command.clone(), desk.now, &mut desk.entropy);
            let forbidden = matches!(outcome, Err(OperatorRefused::Forbidden { .. }));
            assert_eq!(forbidden, role < needs, "{} {command:?}", role.name());
        }
    }
}

#[test]
fn everybody_may_change_their_own_password_and_only_an_owner_anothers() {
    let mut desk = Desk::new();
    let mut user = |name: &str, role| {
        let new = NewUser { name: name.into(), role, password_hash: PasswordHash("old".into()) };
        let reply = desk.command(OperatorCommand::CreateUser(new));
        let OperatorReply::User(view) = reply else { panic!("{reply:?}") };
        view.id
    };
    let (owner, viewer) = (user("owner", Role::Owner), user("viewer", Role::Viewer));
    let set = |id| OperatorCommand::SetPassword(id, PasswordHash("new".into()));
    assert!(desk.try_command(&as_role(Role::Viewer), set(owner)).is_err());
    assert!(desk.try_command(&as_role(Role::Viewer), set(viewer)).is_ok());
    assert!(desk.try_command(&as_role(Role::Owner), set(viewer)).is_ok());
    assert_eq!(desk.domain.user_by_name("viewer").unwrap().password_hash, "new");
    desk.check();
}

#[test]
fn the_last_owner_who_can_log_in_stays() {
    let mut desk = Desk::new();
    let new = NewUser { name: "a".into(), role: Role::Owner, password_hash: PasswordHash("h".into()) };
    let OperatorReply::User(user) = desk.command(OperatorCommand::CreateUser(new)) else { panic!() };
    for command in [
        OperatorCommand::RemoveUser(user.id),
        OperatorCommand::UpdateUser(user.id, UserPatch { disabled: Some(true), role: None }),
        OperatorCommand::UpdateUser(user.id, UserPatch { disabled: None, role: Some(Role::Viewer) }),
    ] {
        let refused = desk.try_command(&Actor::system(), command).unwrap_err();
        assert!(matches!(refused, OperatorRefused::Conflict(_)));
    }
    let new = NewUser { name: "b".into(), role: Role::Owner, password_hash: PasswordHash("h".into()) };
    desk.command(OperatorCommand::CreateUser(new));
    desk.command(OperatorCommand::RemoveUser(user.id));
    desk.check();
}

#[test]
fn an_api_key_is_shown_once_and_opens_until_it_ends_or_is_revoked() {
    let mut desk = Desk::new();
    let make = |desk: &mut Desk| {
        let new = NewApiKey { name: "ci".into(), role: Role::Operator, days: Some(1) };
        let reply = desk.command(OperatorCommand::CreateApiKey(new));
        let OperatorReply::ApiKey(view, Some(secret)) = reply else { panic!("{reply:?}") };
        (view.id, secret)
    };
    let (id, secret) = make(&mut desk);
    let stored = format!("{:?}{:?}", desk.store, desk.journal);
    assert!(!stored.contains(secret.reveal()) && !format!("{secret:?}").contains(secret.reveal()));
    let actor = desk.domain.authenticate_api_key(secret.reveal(), desk.now).unwrap();
    assert_eq!(actor.role, Role::Operator);
    assert_eq!(desk.domain.authenticate_api_key(&secret.reveal()[..secret.reveal().len() - 1], desk.now), None);
    assert_eq!(desk.domain.authenticate_api_key(secret.reveal(), UnixMillis(desk.now.0 + DAY)), None);
    desk.command(OperatorCommand::RevokeApiKey(id));
    assert_eq!(desk.domain.authenticate_api_key(secret.reveal(), desk.now), None);
    desk.check();
}

#[test]
fn a_token_is_shown_once_and_lives_one_to_365_days_for_one_use_unless_stated_otherwise() {
    let mut desk = Desk::new();
    let (id, secret) = desk.token_with(NewToken::default());
    let view = desk.domain.token(id, desk.now).unwrap();
    assert_eq!((view.max_uses, view.expires_at.0 - desk.now.0, view.export_allowed), (Some(1), 30 * DAY, true));
    assert!(!format!("{:?}{:?}", desk.store, desk.journal).contains(secret.reveal()));
    for (days, fits) in [(0, false), (1, true), (365, true), (366, false)] {
        let new = NewToken { days: Some(days), ..NewToken::default() };
        assert_eq!(desk.try_command(&Actor::system(), OperatorCommand::CreateToken(new)).is_ok(), fits, "{days}");
    }
    let parsed: NewToken = serde_json::from_str("{}").unwrap();
    assert_eq!(parsed.max_uses, Some(1));
    let parsed: NewToken = serde_json::from_str(r#"{"max_uses":null}"#).unwrap();
    assert_eq!(parsed.max_uses, None);
    desk.check();
}

#[test]
fn a_removal_shows_its_effect_and_is_carried_out_only_as_shown() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    let removal = RemovalEffect { evaluation_s: 7_776_000, expired_effect: "reject_new".to_owned(), grace_s: 0 };
    host.info.removal = Some(removal);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    let id = desk.instance(&host).id;
    let remove = |confirm| OperatorCommand::RemoveInstance { instance: id, confirm };
    let Err(OperatorRefused::ConfirmationNeeded(shown)) = desk.try_command(&Actor::system(), remove(None)) else {
        panic!()
    };
    assert_eq!(shown.releases, [("cps".to_owned(), 4)]);
    assert!(shown.effect.contains("2160 h of evaluation"), "{}", shown.effect);
    // Meanwhile its evaluation was used up: what was confirmed is not what would happen.
    host.eval_used_s = 7_776_000;
    host.ask(&mut desk, "cps", 4);
    let Err(OperatorRefused::ConfirmationNeeded(now)) = desk.try_command(&Actor::system(), remove(Some(shown.confirm)))
    else {
        panic!()
    };
    assert!(now.effect.contains("new calls are refused at once") && now.may_refuse_calls, "{}", now.effect);
    desk.command(remove(Some(now.confirm)));
    assert_eq!((desk.instance(&host).state, desk.in_use(account, "cps")), (InstanceState::Removed, 0));
    assert_eq!(host.try_ask(&mut desk, &[("cps", 4)]), Err(RefusalCode::InstanceRemoved));
    desk.check();
}

#[test]
fn deregistration_gives_licenses_back_at_once_and_may_be_said_twice() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    host.goodbye(&mut desk, "Default").unwrap();
    assert_eq!((desk.in_use(account, "cps"), desk.instance(&host).state), (0, InstanceState::Deregistered));
    host.goodbye(&mut desk, "Default").unwrap();
    assert_eq!(host.try_ask(&mut desk, &[]), Err(RefusalCode::InstanceRemoved));
    // A renamed virtual account is left too.
    host.register(&mut desk, &token);
    let rename = NewVirtualAccount { name: "Main".into(), description: String::new() };
    desk.command(OperatorCommand::UpdateVirtualAccount(account, rename));
    host.goodbye(&mut desk, "Default").unwrap();
    assert_eq!(desk.instance(&host).state, InstanceState::Deregistered);
    desk.check();
}

#[test]
fn licenses_move_between_virtual_accounts_and_the_move_is_recorded() {
    let mut desk = Desk::new();
    let (from, to) = (desk.default(), desk.account("East"));
    let lot = desk.buy(from, "cps", 10);
    desk.command(OperatorCommand::TransferLicenses(Transfer { lot, to, quantity: 4 }));
    let bought = |desk: &Desk, account| desk.domain.standing(account, "cps", desk.now).supply.purchased;
    assert_eq!((bought(&desk, from), bought(&desk, to)), (6, 4));
    desk.command(OperatorCommand::TransferLicenses(Transfer { lot, to, quantity: 6 }));
    assert_eq!((bought(&desk, from), bought(&desk, to)), (0, 10));
    let moved = desk.journal.iter().filter(|journal| matches!(journal, Journal::Transfer(_))).count();
    assert_eq!(moved, 2);
    let refused = OperatorCommand::TransferLicenses(Transfer { lot, to, quantity: 1 });
    assert!(matches!(desk.try_command(&Actor::system(), refused), Err(OperatorRefused::NotFound { .. })));
    desk.check();
}

#[test]
fn licenses_of_one_virtual_account_serve_no_other() {
    let mut desk = Desk::new();
    let east = desk.account("East");
    desk.buy(desk.default(), "cps", 10);
    let token = desk.token(east);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    assert_eq!(host.ask(&mut desk, "cps", 1).status, TagStatus::OutOfCompliance);
    let id = desk.instance(&host).id;
    let to = desk.default();
    desk.command(OperatorCommand::TransferInstance { instance: id, to });
    assert_eq!((desk.in_use(east, "cps"), desk.in_use(to, "cps")), (0, 1));
    let grant = host.try_ask(&mut desk, &[("cps", 1)]).unwrap();
    assert_eq!((grant.status, grant.virtual_account.as_str()), (ComplianceStatus::InCompliance, "Default"));
    desk.check();
}

#[test]
fn a_virtual_account_goes_only_when_nothing_is_left_in_it() {
    let mut desk = Desk::new();
    let east = desk.account("East");
    let remove = || OperatorCommand::RemoveVirtualAccount(east);
    let conflict = |desk: &mut Desk| {
        let refused = desk.try_command(&Actor::system(), remove()).unwrap_err();
        assert!(matches!(refused, OperatorRefused::Conflict(_)), "{refused}");
    };
    let lot = desk.buy(east, "cps", 1);
    conflict(&mut desk);
    desk.command(OperatorCommand::RemoveLot(lot));
    let new = NewToken { virtual_account: Some(east), ..NewToken::default() };
    let (token, secret) = desk.token_with(new);
    conflict(&mut desk);
    let mut host = Host::new(1);
    host.register(&mut desk, &secret);
    conflict(&mut desk);
    host.goodbye(&mut desk, "East").unwrap();
    desk.command(remove());
    assert_eq!(desk.domain.token(token, desk.now), None);
    desk.check();
    let default = desk.default();
    let refused = desk.try_command(&Actor::system(), OperatorCommand::RemoveVirtualAccount(default)).unwrap_err();
    assert!(matches!(refused, OperatorRefused::Conflict(_)));
}

#[test]
fn lists_come_in_pages_that_miss_nothing_and_repeat_nothing() {
    let mut desk = Desk::new();
    for number in 0..25 {
        desk.buy(desk.default(), &format!("tag-{number}"), 1);
        desk.token(desk.default());
    }
    let pages = |list: &dyn Fn(&PageRequest) -> (usize, Option<String>)| {
        let (mut sizes, mut cursor) = (Vec::new(), None);
        loop {
            let (size, next) = list(&PageRequest { cursor, limit: 10 });
            sizes.push(size);
            match next {
                Some(next) => cursor = Some(next),
                None => return sizes,
            }
        }
    };
    let (domain, now) = (&desk.domain, desk.now);
    assert_eq!(
        pages(&|page| domain.tokens(None, page, now).map(|page| (page.items.len(), page.next)).unwrap()),
        [10, 10, 5]
    );
    assert_eq!(
        pages(&|page| domain.licenses(None, page, now).map(|page| (page.items.len(), page.next)).unwrap()),
        [10, 10, 5]
    );
    for wrong in [PageRequest { cursor: None, limit: 0 }, PageRequest { cursor: None, limit: 1001 }] {
        assert!(matches!(domain.lots(None, &wrong, now), Err(OperatorRefused::Invalid { field: "limit", .. })));
    }
    let wrong = PageRequest { cursor: Some("x".into()), limit: 1 };
    assert!(matches!(domain.lots(None, &wrong, now), Err(OperatorRefused::Invalid { field: "cursor", .. })));
}

#[test]
fn bought_in_use_and_balance_are_shown_by_tag() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 14);
    let page = desk.domain.licenses(Some(account), &PageRequest::default(), desk.now).unwrap();
    let view = &page.items[0];
    assert_eq!((view.purchased, view.in_use, view.balance, view.shortage), (10, 14, -4, 4));
    assert_eq!(view.status, ComplianceStatus::OutOfCompliance);
}

#[test]
fn the_audit_log_breaks_where_anything_of_it_is_changed_left_out_or_reordered() {
    let mut desk = Desk::new();
    for number in 0..4 {
        desk.account(&format!("VA {number}"));
    }
    let entries: Vec<AuditEntry> = desk
        .journal
        .iter()
        .filter_map(|journal| match journal {
            Journal::Audit(entry) => Some(entry.clone()),
            Journal::Usage(_)
            | Journal::Transfer(_)
            | Journal::Event(_)
            | Journal::AlertEnded(_)
            | Journal::Report(_) => None,
        })
        .collect();
    let verify = |entries: &[AuditEntry]| AuditHead::default().verify(entries);
    assert_eq!(verify(&entries).as_ref(), Ok(desk.domain.audit_head()));
    let edits: [fn(&mut AuditEntry); 8] = [
        |entry| entry.at.0 += 1,
        |entry| entry.actor.push('x'),
        |entry| entry.address = Some(String::new()),
        |entry| entry.action.push('x'),
        |entry| entry.target.push('x'),
        |entry| entry.detail.clear(),
        |entry| entry.previous = "0".repeat(64),
        |entry| entry.hash = "0".repeat(64),
    ];
    for (place, edit) in edits.iter().enumerate() {
        let mut edited = entries.clone();
        edit(&mut edited[1]);
        assert!(verify(&edited).is_err(), "edit {place}");
        // Also when the entry's own hash is made anew: the next one shows it.
        edited[1].hash = edited[1].expected_hash();
        assert!(edited == entries || verify(&edited).is_err(), "edit {place}, hashed anew");
    }
    let mut shorter = entries.clone();
    shorter.remove(2);
    assert_eq!(verify(&shorter), Err(ChainBroken::Order { found: 4, expected: 3 }));
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    assert!(verify(&swapped).is_err());
    assert_ne!(verify(&entries[..3]).as_ref(), Ok(desk.domain.audit_head()), "a cut end shows by the head");
}

#[test]
fn records_that_do_not_fit_together_are_not_loaded() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 1);
    let all: Vec<Record> = desk.store.values().cloned().collect();
    let without = |kind| all.iter().filter(move |record| record.key().kind != kind).cloned();
    assert_eq!(Domain::load(without(RecordKind::Account)).err(), Some(LoadError::NoAccount));
    assert!(matches!(Domain::load(without(RecordKind::VirtualAccount)), Err(LoadError::Missing { .. })));
    assert!(matches!(Domain::load(without(RecordKind::Tag)), Err(LoadError::Missing { .. })));
    let twice = all.iter().chain(&all).cloned();
    assert!(matches!(Domain::load(twice), Err(LoadError::Twice { .. })));
    for record in &all {
        let key = record.key();
        assert_eq!(key.kind.name().parse(), Ok(key.kind));
        let json = serde_json::to_string(record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), *record);
    }
}
