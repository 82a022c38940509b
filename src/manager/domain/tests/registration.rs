//! Who may register, as whom, and how often.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;
use crate::units::when::iso;

fn uses(desk: &Desk, id: TokenId) -> u64 {
    desk.domain.token(id, desk.now).unwrap().uses
}

#[test]
fn a_lost_answer_gives_the_same_certificate_again_and_counts_no_second_use() {
    let mut desk = Desk::new();
    let (id, token) = desk.token_with(NewToken::default());
    let mut host = Host::new(1);
    let first = host.try_register(&mut desk, &token, false).unwrap();
    desk.pass(900_000);
    let second = host.try_register(&mut desk, &token, false).unwrap();
    assert_eq!((first.certificate, first.instance), (second.certificate, second.instance));
    assert_eq!(uses(&desk, id), 1);
    assert_eq!(Host::new(2).try_register(&mut desk, &token, false), Err(RefusalCode::TokenUsedUp));
    // Also when the token ended meanwhile; but not once the answer has arrived.
    desk.pass(40 * DAY);
    assert!(host.try_register(&mut desk, &token, false).is_ok());
    let instance = second.instance.to_string();
    host.ack(&mut desk, Acknowledged::Registration { instance }).unwrap();
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::TokenExpired));
    desk.check();
}

#[test]
fn unknown_revoked_expired_and_used_up_tokens_are_told_apart() {
    let mut desk = Desk::new();
    let foreign = RegistrationToken::generate(&mut Entropy::from_seed([77; 32]));
    assert_eq!(Host::new(1).try_register(&mut desk, &foreign, false), Err(RefusalCode::TokenUnknown));
    let (id, token) = desk.token_with(NewToken { days: Some(1), max_uses: Some(2), ..NewToken::default() });
    let mut first = Host::new(1);
    first.register(&mut desk, &token);
    desk.pass(DAY - 1);
    Host::new(2).register(&mut desk, &token);
    assert_eq!(Host::new(3).try_register(&mut desk, &token, false), Err(RefusalCode::TokenUsedUp));
    desk.pass(1);
    assert_eq!(Host::new(3).try_register(&mut desk, &token, false), Err(RefusalCode::TokenExpired));
    desk.command(OperatorCommand::RevokeToken(id));
    assert_eq!(Host::new(3).try_register(&mut desk, &token, false), Err(RefusalCode::TokenRevoked));
    assert_eq!(uses(&desk, id), 2);
    // What registered with it is not touched.
    desk.buy(desk.default(), "cps", 1);
    assert_eq!(first.ask(&mut desk, "cps", 1).granted, 1);
    desk.check();
}

#[test]
fn a_token_for_products_or_networks_registers_no_others() {
    let mut desk = Desk::new();
    let (_, token) = desk.token_with(NewToken {
        products: vec!["cusp".to_owned()],
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        ..NewToken::default()
    });
    let mut host = Host::new(1);
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::TokenNotForProduct));
    host.info.profile = "cusp".to_owned();
    host.caller.address = Some("198.51.100.1".parse().unwrap());
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::TokenNotFromHere));
    host.caller.address = None;
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::TokenNotFromHere));
    host.caller.address = Some("192.0.2.99".parse().unwrap());
    desk.policy(PolicyPatch { products: Some(vec!["open".to_owned()]), ..PolicyPatch::default() });
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::ProductNotAllowed));
    desk.policy(PolicyPatch { products: Some(Vec::new()), ..PolicyPatch::default() });
    assert!(host.try_register(&mut desk, &token, false).is_ok());
}

#[test]
fn the_export_flag_is_the_tokens_where_the_account_permits_it() {
    let mut desk = Desk::new();
    let (_, with) = desk.token_with(NewToken::default());
    let (_, without) = desk.token_with(NewToken { export_allowed: Some(false), ..NewToken::default() });
    let mut host = Host::new(1);
    assert!(host.register(&mut desk, &with).export_allowed);
    assert!(!Host::new(2).register(&mut desk, &without).export_allowed);
    desk.policy(PolicyPatch { export_permitted: Some(false), ..PolicyPatch::default() });
    let new = NewToken { export_allowed: Some(true), ..NewToken::default() };
    let refused = desk.try_command(&Actor::system(), OperatorCommand::CreateToken(new)).unwrap_err();
    assert!(matches!(refused, OperatorRefused::Invalid { field: "export_allowed", .. }));
    // Permission withdrawn counts at once, whatever the token said.
    assert!(!host.try_ask(&mut desk, &[]).unwrap().export_allowed);
}

#[test]
fn another_key_or_virtual_account_needs_force_and_the_same_key_needs_none() {
    let mut desk = Desk::new();
    let east = desk.account("East");
    let (here, there) = (desk.token(desk.default()), desk.token(east));
    let mut host = Host::new(1);
    host.register(&mut desk, &here);
    assert_eq!(host.try_register(&mut desk, &there, false), Err(RefusalCode::AlreadyRegistered));
    let mut other = host.clone();
    other.key = SecretKey::from_seed([200; 32]);
    assert_eq!(other.try_register(&mut desk, &here, false), Err(RefusalCode::AlreadyRegistered));
    assert!(host.try_register(&mut desk, &here, false).is_ok());
    // After an orphaned deregistration, and after its certificate ended, the same key needs no force.
    desk.pass(366 * DAY);
    desk.housekeep();
    assert_eq!(desk.instance(&host).state, InstanceState::Expired);
    let here = desk.token(desk.default());
    let again = host.try_register(&mut desk, &here, false).unwrap();
    assert!(again.certificate.certificate.not_after > desk.now);
    desk.check();
}

#[test]
fn reregistration_moves_to_the_other_virtual_account_and_releases_the_old_one_when_the_answer_arrived() {
    let mut desk = Desk::new();
    let (old, new) = (desk.default(), desk.account("East"));
    desk.buy(old, "cps", 10);
    desk.buy(new, "cps", 10);
    let (here, there) = (desk.token(old), desk.token(new));
    let mut host = Host::new(1);
    host.register(&mut desk, &here);
    host.ask(&mut desk, "cps", 7);
    let answer = host.try_register(&mut desk, &there, true).unwrap();
    assert_eq!(answer.virtual_account, "East");
    assert_eq!((desk.in_use(old, "cps"), desk.in_use(new, "cps")), (7, 0));
    host.ack(&mut desk, Acknowledged::Registration { instance: answer.instance.to_string() }).unwrap();
    assert_eq!((desk.in_use(old, "cps"), desk.in_use(new, "cps")), (0, 0));
    let grant = host.try_ask(&mut desk, &[("cps", 7)]).unwrap();
    assert_eq!((grant.virtual_account.as_str(), desk.in_use(new, "cps")), ("East", 7));
    // The goodbye to the old one comes late, and ends nothing.
    host.goodbye(&mut desk, "Default").unwrap();
    assert_eq!((desk.instance(&host).state, desk.in_use(new, "cps")), (InstanceState::Registered, 7));
    desk.check();
}

#[test]
fn what_was_left_behind_comes_back_after_a_day_though_the_answer_never_arrived() {
    let mut desk = Desk::new();
    let (old, new) = (desk.default(), desk.account("East"));
    desk.buy(old, "cps", 10);
    let (here, there) = (desk.token(old), desk.token(new));
    let mut host = Host::new(1);
    host.register(&mut desk, &here);
    host.ask(&mut desk, "cps", 7);
    host.try_register(&mut desk, &there, true).unwrap();
    desk.pass(DAY - 1);
    desk.housekeep();
    assert_eq!(desk.in_use(old, "cps"), 7);
    desk.pass(1);
    desk.housekeep();
    assert_eq!(desk.in_use(old, "cps"), 0);
    desk.check();
}

#[test]
fn of_two_hosts_with_one_identity_the_last_registered_wins_and_the_other_is_told() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut first = Host::new(1);
    first.register(&mut desk, &token);
    first.ask(&mut desk, "cps", 5);
    let mut second = first.clone();
    second.key = SecretKey::from_seed([201; 32]);
    second.try_register(&mut desk, &token, true).unwrap();
    assert!(desk.alerts().is_empty());
    assert_eq!(first.try_ask(&mut desk, &[("cps", 5)]), Err(RefusalCode::Duplicate));
    assert_eq!(desk.alerts(), [AlertKind::DuplicateLicenses]);
    assert_eq!(desk.instance(&second).state, InstanceState::Duplicate);
    assert_eq!(second.ask(&mut desk, "cps", 5).granted, 5);
    assert_eq!(desk.in_use(account, "cps"), 5, "counted once");
    desk.check();
}

/// As the agent does: a number that was used before is answered by a jump.
fn speak(host: &mut Host, desk: &mut Desk) {
    desk.pass(1000);
    if host.try_ask(desk, &[]) == Err(RefusalCode::Replayed) {
        host.seq += 1 << 32;
        desk.pass(1000);
        host.try_ask(desk, &[]).unwrap();
    }
}

#[test]
fn two_hosts_that_share_one_state_show_by_jumping_past_each_other_and_one_that_was_restored_does_not() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    let snapshot = host.clone();
    (0..10).for_each(|_| speak(&mut host, &mut desk));
    // Restored once; its tries are refused several times before the answer arrives.
    let grant_seq = host.grant_seq;
    host = Host { entropy: Entropy::from_seed([98; 32]), grant_seq, ..snapshot };
    for _ in 0..4 {
        desk.pass(1000);
        assert_eq!(host.try_ask(&mut desk, &[]), Err(RefusalCode::Replayed));
    }
    (0..10).for_each(|_| speak(&mut host, &mut desk));
    assert!(desk.alerts().is_empty(), "one restored host is no second one");
    // A clone: both go on from the same numbers.
    desk.pass(31 * DAY);
    let mut copy = Host { entropy: Entropy::from_seed([99; 32]), ..host.clone() };
    for turn in 0..2 {
        assert!(desk.alerts().is_empty(), "turn {turn}");
        for one in [&mut host, &mut copy] {
            one.grant_seq = 0;
            speak(one, &mut desk);
        }
    }
    assert_eq!(desk.alerts(), [AlertKind::DuplicateLicenses]);
    assert_eq!(desk.instance(&host).state, InstanceState::Duplicate);
    desk.check();
}

#[test]
fn no_message_is_taken_twice_and_none_out_of_order() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    let registration = host.registration(&desk, &token, false);
    assert!(matches!(desk.take(&registration, &host.caller), AgentReply::Registered(_)));
    let (one, two) = (host.entitlement(&desk, &[("cps", 1)]), host.entitlement(&desk, &[("cps", 2)]));
    assert_eq!(host.granted(&mut desk, &two).unwrap().tags[0].granted, 2);
    for old in [&two, &one, &registration] {
        let AgentReply::Refused(refusal) = desk.take(old, &host.caller) else { panic!() };
        assert_eq!(refusal.code, RefusalCode::Replayed);
    }
    assert_eq!(desk.in_use(account, "cps"), 2);
    assert!(desk.alerts().is_empty(), "copies of old messages are no second host");
    desk.check();
}

#[test]
fn a_clock_more_than_an_hour_off_is_refused_with_both_times() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    for (ahead, fits) in [(3_600_000, true), (3_600_001, false), (-3_600_000, true), (-3_600_001, false)] {
        let mut host = Host::new(1);
        host.ahead = ahead;
        let mut desk =
            Desk { domain: desk.domain.clone(), store: desk.store.clone(), journal: Vec::new(), ..Desk::new() };
        let request = host.registration(&desk, &token, false);
        let sent_at = request.header().sent_at;
        let reply = desk.take(&request, &host.caller);
        if let AgentReply::Refused(refusal) = &reply {
            assert_eq!(refusal.code, RefusalCode::ClockSkew);
            assert!(refusal.text.contains(&iso(sent_at)), "{}", refusal.text);
            assert!(refusal.text.contains(&iso(desk.now)), "{}", refusal.text);
        }
        assert_eq!(matches!(reply, AgentReply::Registered(_)), fits, "{ahead}");
    }
}

#[test]
fn a_renewal_keeps_the_old_key_until_the_new_one_was_used_and_never_after() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    let new_key = SecretKey::from_seed([50; 32]);
    let first = host.renew(&mut desk, &new_key).unwrap();
    // The answer was lost: the old key asks again and gets the same.
    let second = host.renew(&mut desk, &new_key).unwrap();
    assert_eq!(first.certificate, second.certificate);
    assert_eq!(first.certificate.key, new_key.public());
    let mut old = host.clone();
    host.key = new_key;
    // Numbers count from anew with a new key.
    host.seq = 0;
    host.try_ask(&mut desk, &[]).unwrap();
    assert_eq!(old.try_ask(&mut desk, &[]), Err(RefusalCode::CertificateRevoked));
    assert_eq!(host.renew(&mut desk, &old.key), Err(RefusalCode::BadRequest), "an old key never comes back");
    desk.check();
}

#[test]
fn what_privacy_withholds_is_erased_with_the_next_renewal() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    assert_eq!(desk.instance(&host).hostname.as_deref(), Some("sip-1"));
    assert!(desk.instance(&host).address.is_some());
    host.info.hostname = None;
    host.renew(&mut desk, &SecretKey::from_seed([51; 32])).unwrap();
    host.try_ask(&mut desk, &[]).unwrap();
    assert_eq!((desk.instance(&host).hostname.as_ref(), desk.instance(&host).address), (None, None));
    desk.check();
}

#[test]
fn a_changed_host_name_arrives_with_a_renewal() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.info.hostname = Some("sip-9".to_owned());
    assert_eq!(host.renew(&mut desk, &host.key.clone()), Err(RefusalCode::BadRequest), "a renewal brings a new key");
    host.renew(&mut desk, &SecretKey::from_seed([52; 32])).unwrap();
    assert_eq!(desk.instance(&host).hostname.as_deref(), Some("sip-9"));
}

#[test]
fn evaluation_used_never_becomes_less_whatever_an_agent_says() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.eval_used_s = 5_000;
    assert_eq!(host.register(&mut desk, &token).header.eval_used_s, 5_000);
    host.eval_used_s = 0;
    host.goodbye(&mut desk, "Default").unwrap();
    assert_eq!(host.try_register(&mut desk, &token, false).unwrap().header.eval_used_s, 5_000);
    desk.check();
}

#[test]
fn a_second_identity_of_a_machine_is_allowed_refused_or_asked_about() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut first = Host::new(1);
    first.eval_used_s = 7_000;
    first.register(&mut desk, &token);
    let same_machine = |number| {
        let mut host = Host::new(number);
        host.info.fingerprint = "machine-1".to_owned();
        host
    };
    assert_eq!(same_machine(2).register(&mut desk, &token).header.eval_used_s, 0, "an evaluation of its own");
    let policy = |eval_policy| PolicyPatch { eval_policy: Some(eval_policy), ..PolicyPatch::default() };
    desk.policy(policy(EvalPolicy::Deny));
    assert_eq!(same_machine(3).try_register(&mut desk, &token, false), Err(RefusalCode::MachineKnown));
    assert!(desk.alerts().is_empty());
    desk.policy(policy(EvalPolicy::Ask));
    assert_eq!(same_machine(3).try_register(&mut desk, &token, false), Err(RefusalCode::MachineKnown));
    assert_eq!(desk.alerts(), [AlertKind::AuthorizationPending]);
    desk.command(OperatorCommand::AllowMachine { fingerprint: "machine-1".to_owned(), allow: true });
    assert!(desk.alerts().is_empty());
    assert!(same_machine(3).try_register(&mut desk, &token, false).is_ok());
    assert!(Host::new(4).try_register(&mut desk, &token, false).is_ok(), "another machine is never asked about");
    desk.check();
}

#[test]
fn an_envelope_opens_with_the_right_key_and_certificate_alone() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    let request = host.registration(&desk, &token, false);
    let message::Message::Registration(message) = &request.message else { panic!() };
    let open = |envelope: &Envelope, caller: &Caller| {
        AgentRequest::open(envelope, caller, |udi| desk.domain.instance_keys(udi), desk.now).map_err(|no| no.code)
    };
    let sealed = Envelope::seal(Typ::Registration, message, &host.key).unwrap();
    assert_eq!(open(&sealed, &host.caller), Ok(request.clone()));
    let other = SecretKey::from_seed([60; 32]);
    let forged = Envelope::seal(Typ::Registration, message, &other).unwrap();
    assert_eq!(open(&forged, &host.caller), Err(RefusalCode::BadSignature));
    let nonsense = Envelope::seal(Typ::Registration, &"nothing", &host.key).unwrap();
    assert_eq!(open(&nonsense, &host.caller), Err(RefusalCode::BadRequest));

    assert!(matches!(desk.take(&request, &host.caller), AgentReply::Registered(_)));
    let request = host.entitlement(&desk, &[]);
    let message::Message::Entitlement(message) = &request.message else { panic!() };
    let sealed = Envelope::seal(Typ::Entitlement, message, &host.key).unwrap();
    let open = |envelope: &Envelope, caller: &Caller| {
        AgentRequest::open(envelope, caller, |udi| desk.domain.instance_keys(udi), desk.now).map_err(|no| no.code)
    };
    assert_eq!(open(&sealed, &host.caller), Err(RefusalCode::BadSignature), "no client certificate");
    let with = |udi: &Udi, key: &SecretKey| Caller {
        address: None,
        certificate: Some(CallerCertificate { udi: udi.clone(), key: key.public(), not_after: UnixMillis(u64::MAX) }),
    };
    assert_eq!(open(&sealed, &with(&host.udi, &host.key)), Ok(request.clone()));
    assert_eq!(open(&sealed, &with(&host.udi, &other)), Err(RefusalCode::BadSignature));
    assert_eq!(open(&sealed, &with(&Host::new(2).udi, &host.key)), Err(RefusalCode::BadSignature));
    // A stranger's certificate for this UDI verifies, and is not the key that is registered.
    let strange = Envelope::seal(Typ::Entitlement, message, &other).unwrap();
    let opened = open(&strange, &with(&host.udi, &other)).unwrap();
    let AgentReply::Refused(refusal) = desk.take(&opened, &host.caller) else { panic!() };
    assert_eq!(refusal.code, RefusalCode::BadSignature);
    let expired = Caller {
        address: None,
        certificate: Some(CallerCertificate {
            udi: host.udi.clone(),
            key: host.key.public(),
            not_after: UnixMillis(desk.now.0 - 1),
        }),
    };
    let AgentReply::Refused(refusal) = desk.take(&request, &expired) else { panic!() };
    assert_eq!(refusal.code, RefusalCode::CertificateRevoked);
}

#[test]
fn what_is_too_long_or_too_many_is_refused_with_what_is_accepted() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.info.tags = (0..65).map(|number| format!("tag-{number}")).collect();
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::BadRequest));
    host.info.tags.truncate(64);
    host.info.version = "9".repeat(129);
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::BadRequest));
    host.info.version.truncate(128);
    host.grant_seq = bounds::SEQ_MAX + 1;
    assert_eq!(host.try_register(&mut desk, &token, false), Err(RefusalCode::BadRequest));
    host.grant_seq = 0;
    host.register(&mut desk, &token);
    assert_eq!(host.try_ask(&mut desk, &[("cps", bounds::LICENSES_MAX + 1)]), Err(RefusalCode::BadRequest));
    assert_eq!(host.try_ask(&mut desk, &[("cps", 1), ("cps", 1)]), Err(RefusalCode::BadRequest));
    let many: Vec<String> = (0..65).map(|number| format!("tag-{number}")).collect();
    let many: Vec<_> = many.iter().map(|tag| (tag.as_str(), 1)).collect();
    assert_eq!(host.try_ask(&mut desk, &many), Err(RefusalCode::BadRequest));
    assert!(host.try_ask(&mut desk, &many[..64]).is_ok());
}
