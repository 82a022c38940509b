//! What is refused at the door, and that a refusal leaves nothing behind.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::message::Message;
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;

fn with_certificate(host: &Host) -> Caller {
    let certificate = CallerCertificate {
        udi: host.udi.clone(),
        key: host.key.public(),
        not_after: UnixMillis(super::desk::START + 365 * DAY),
    };
    Caller { address: None, certificate: Some(certificate) }
}

fn refused(desk: &mut Desk, host: &Host, request: &AgentRequest) -> RefusalCode {
    let before: Vec<_> = desk.domain.records().collect();
    let AgentReply::Refused(refusal) = desk.take(request, &host.caller) else { panic!("{request:?} was taken") };
    assert_eq!(desk.domain.records().collect::<Vec<_>>(), before, "a refused message left something behind");
    refusal.code
}

#[test]
fn numbers_that_no_column_holds_and_texts_that_no_database_takes_are_refused_and_leave_nothing() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    for spoil in [
        |host: &mut Host| host.info.hostname = Some("sip\0".into()),
        |host: &mut Host| host.info.profile = "o\npen".into(),
        |host: &mut Host| host.info.version = "\u{1b}[2J".into(),
        |host: &mut Host| host.info.fingerprint = "\u{7f}".into(),
        |host: &mut Host| host.info.usage = "\r".into(),
        |host: &mut Host| host.info.tags = vec!["c\0ps".into()],
        |host: &mut Host| host.eval_used_s = bounds::EVALUATION_MAX_S + 1,
        |host: &mut Host| host.grant_seq = u64::MAX,
    ] {
        let mut spoiled = host.clone();
        spoil(&mut spoiled);
        let request = spoiled.registration(&desk, &token, false);
        assert_eq!(refused(&mut desk, &host, &request), RefusalCode::BadRequest);
    }
    host.register(&mut desk, &token);
    let good = TagReport {
        tag: "cps".into(),
        requested: 1,
        reported: 1,
        observed_peak: 1,
        peak_at: None,
        p95: 1,
        samples: bounds::SAMPLES_MAX,
        next: None,
        lent_used: 0,
    };
    let report = |host: &mut Host, desk: &Desk, tag: TagReport, eval_used_s| {
        let (until, header) = (desk.now, host.header(desk));
        let request =
            ReportRequest { header, from: UnixMillis(0), until, tags: vec![tag], eval_used_s, last_grant_seq: 0 };
        host.signed(Message::Report(request))
    };
    for (bad, eval_used_s) in [
        (TagReport { samples: bounds::SAMPLES_MAX + 1, ..good.clone() }, 0),
        (TagReport { peak_at: Some(UnixMillis(u64::MAX)), ..good.clone() }, 0),
        (TagReport { reported: bounds::LICENSES_MAX + 1, ..good.clone() }, 0),
        (TagReport { observed_peak: u64::MAX, ..good.clone() }, 0),
        (TagReport { p95: u64::MAX, ..good.clone() }, 0),
        (TagReport { next: Some(u64::MAX), ..good.clone() }, 0),
        (TagReport { tag: "c\0ps".into(), ..good.clone() }, 0),
        (good.clone(), u64::MAX),
    ] {
        let request = report(&mut host, &desk, bad, eval_used_s);
        assert_eq!(refused(&mut desk, &host, &request), RefusalCode::BadRequest);
    }
    let request = report(&mut host, &desk, good, bounds::EVALUATION_MAX_S);
    assert!(matches!(desk.take(&request, &host.caller), AgentReply::Granted(_)));
    for acknowledged in [
        Acknowledged::Grant { tag: "cps".into(), epoch: u64::MAX, effective: 1 },
        Acknowledged::Grant { tag: "cps".into(), epoch: 1, effective: u64::MAX },
        Acknowledged::Grant { tag: "\0".into(), epoch: 1, effective: 1 },
        Acknowledged::Registration { instance: "\0".into() },
    ] {
        let request = Message::Ack(Acknowledgement { header: host.header(&desk), acknowledged });
        let request = host.signed(request);
        assert_eq!(refused(&mut desk, &host, &request), RefusalCode::BadRequest);
    }
    desk.check();
}

#[test]
fn operators_cannot_enter_what_no_column_holds_either() {
    let mut desk = Desk::new();
    let lot = |start: Option<u64>, end: Option<u64>, note: &str| {
        OperatorCommand::AddLot(NewLot {
            virtual_account: None,
            tag: "cps".into(),
            quantity: 1,
            start: start.map(UnixMillis),
            end: end.map(UnixMillis),
            note: note.into(),
        })
    };
    let token = |max_uses, note: &str| {
        OperatorCommand::CreateToken(NewToken { max_uses, note: note.into(), ..NewToken::default() })
    };
    let last = bounds::TIME_MAX.0;
    let setting =
        |value: &str| OperatorCommand::PutSetting(Setting { name: "web.banner".into(), value: value.to_owned() });
    for (command, field) in [
        (lot(Some(last + 1), None, ""), "start"),
        (lot(None, Some(last + 1), ""), "end"),
        (lot(None, None, "order\0"), "note"),
        (token(Some(u64::MAX), ""), "max_uses"),
        (token(Some(0), ""), "max_uses"),
        (token(None, "\u{1b}[31m"), "note"),
        (setting("a\0b"), "value"),
    ] {
        let refused = desk.try_command(&Actor::system(), command).unwrap_err();
        let OperatorRefused::Invalid { field: found, accepted, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(found, field);
        assert!(!accepted.is_empty());
    }
    for command in [lot(Some(0), Some(last), "two\nlines"), token(Some(bounds::TOKEN_USES_MAX), ""), setting("a\n\tb")]
    {
        desk.command(command);
    }
}

#[test]
fn what_no_key_of_the_instance_signed_never_ends_a_registration() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    let open = |desk: &Desk, envelope: &Envelope| {
        let caller = Caller::default();
        AgentRequest::open(envelope, &caller, |udi| desk.domain.instance_keys(udi), desk.now)
    };
    let Message::Entitlement(asked) = host.entitlement(&desk, &[]).message else { panic!() };
    let refusal = open(&desk, &Envelope::seal(Typ::Entitlement, &asked, &host.key).unwrap()).unwrap_err();
    assert!(!refusal.code.ends_registration() && refusal.text.contains("proxy"), "{refusal:?}");
    // A goodbye without certificate, of nobody and of somebody else.
    let mut goodbye = |udi: &Udi| {
        let header = RequestHeader { udi: udi.clone(), ..host.header(&desk) };
        DeregistrationRequest { header, virtual_account: "Default".into(), eval_used_s: 0 }
    };
    let (own, foreign) = (goodbye(&Host::new(1).udi), goodbye(&Host::new(2).udi));
    for request in [&own, &foreign] {
        let forged = Envelope::seal(Typ::Deregistration, request, &SecretKey::from_seed([61; 32])).unwrap();
        assert_eq!(open(&desk, &forged).unwrap_err().code, RefusalCode::BadSignature);
    }
}

#[test]
fn a_goodbye_without_certificate_is_heard_by_the_key_of_a_renewal_that_was_never_used() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    let new_key = SecretKey::from_seed([62; 32]);
    host.renew(&mut desk, &new_key).unwrap();
    host.key = new_key;
    let request =
        DeregistrationRequest { header: host.header(&desk), virtual_account: "Default".into(), eval_used_s: 0 };
    let envelope = Envelope::seal(Typ::Deregistration, &request, &host.key).unwrap();
    let opened =
        AgentRequest::open(&envelope, &Caller::default(), |udi| desk.domain.instance_keys(udi), desk.now).unwrap();
    assert!(matches!(desk.take(&opened, &Caller::default()), AgentReply::Deregistered(_)));
    assert_eq!(desk.instance(&host).state, InstanceState::Deregistered);
    desk.check();
}

#[test]
fn a_refused_acknowledgement_or_renewal_of_a_silent_instance_leaves_its_alert() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    desk.pass(90 * DAY);
    desk.housekeep();
    assert_eq!(desk.alerts(), [AlertKind::ProductInstanceFailedToConnect]);
    let instance = "pi-0123456789abcdef".to_owned();
    let wrong = Acknowledgement { header: host.header(&desk), acknowledged: Acknowledged::Registration { instance } };
    let wrong = host.signed(Message::Ack(wrong));
    assert_eq!(refused(&mut desk, &host, &wrong), RefusalCode::BadRequest);
    let key = host.key.clone();
    assert_eq!(host.renew(&mut desk, &key), Err(RefusalCode::BadRequest));
    assert_eq!(desk.alerts(), [AlertKind::ProductInstanceFailedToConnect]);
    desk.check();
}

#[test]
fn what_a_restored_backup_does_not_know_is_asked_to_register_again_and_told_to_operators() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let (mut renewed, mut unknown) = (Host::new(1), Host::new(2));
    renewed.register(&mut desk, &token);
    let backup = (desk.store.clone(), desk.journal.clone());
    unknown.register(&mut desk, &token);
    let new_key = SecretKey::from_seed([63; 32]);
    renewed.renew(&mut desk, &new_key).unwrap();
    renewed.key = new_key;
    renewed.seq = 0;
    renewed.try_ask(&mut desk, &[]).unwrap();
    desk.domain = Domain::load(backup.0.values().cloned()).unwrap();
    (desk.store, desk.journal) = backup;
    let changes = desk.domain.after_restore(desk.now);
    desk.commit(changes);
    for host in [&mut renewed, &mut unknown] {
        assert_eq!(host.try_ask(&mut desk, &[]), Err(RefusalCode::BadSignature));
    }
    assert!(desk.alerts().is_empty(), "without our certificate anybody could say so");
    for host in [&mut renewed, &mut unknown] {
        host.caller = with_certificate(host);
        let request = host.entitlement(&desk, &[]);
        let AgentReply::Refused(refusal) = desk.take(&request, &host.caller) else { panic!() };
        assert!(!refusal.code.ends_registration() && refusal.text.contains("register again"), "{refusal:?}");
    }
    assert_eq!(desk.alerts(), [AlertKind::UnknownProductInstance; 2]);
    desk.check();
    for host in [&mut renewed, &mut unknown] {
        assert!(host.try_register(&mut desk, &token, true).is_ok());
    }
    assert!(desk.alerts().is_empty());
    desk.check();
}

#[test]
fn a_backup_restored_twice_gives_no_number_twice() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 1);
    let backup = (desk.store.clone(), desk.journal.clone());
    let mut newest = 0;
    for _ in 0..3 {
        desk.pass(1000);
        desk.domain = Domain::load(backup.0.values().cloned()).unwrap();
        (desk.store, desk.journal) = backup.clone();
        let changes = desk.domain.after_restore(desk.now);
        desk.commit(changes);
        // It says nothing of what it holds.
        for requested in [2, 3, 4] {
            host.grant_seq = 0;
            let tag = host.ask(&mut desk, "cps", requested);
            assert!(host.grant_seq > newest && tag.epoch > newest && tag.epoch <= host.grant_seq);
            newest = host.grant_seq;
        }
    }
    assert!(newest < bounds::SEQ_MAX);
    desk.check();
}

#[test]
fn epochs_rise_at_the_first_contact_of_an_agent_that_holds_more_than_is_known() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    let before = host.ask(&mut desk, "cps", 5);
    host.grant_seq += 1_000;
    let held = host.grant_seq;
    let after = host.ask(&mut desk, "cps", 5);
    assert_eq!((after.granted, after.cap), (before.granted, before.cap));
    assert!(after.epoch > held, "an epoch that was forgotten never means another count");
}

#[test]
fn a_registered_instance_that_changes_its_machine_leaves_the_old_one_and_uses_up_nothing_on_the_new() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let (mut wanderer, mut other) = (Host::new(1), Host::new(2));
    wanderer.eval_used_s = 9_000;
    wanderer.register(&mut desk, &token);
    other.register(&mut desk, &token);
    wanderer.info.fingerprint = "machine-2".to_owned();
    wanderer.renew(&mut desk, &SecretKey::from_seed([64; 32])).unwrap();
    wanderer.try_ask(&mut desk, &[]).unwrap();
    assert_eq!(desk.domain.machines.keys().collect::<Vec<_>>(), ["machine-2"]);
    let machine = &desk.domain.machines["machine-2"];
    assert_eq!((machine.eval_used_s, machine.instances.len()), (0, 1));
    desk.check();
    // Nothing is left of what is forgotten.
    for host in [&mut wanderer, &mut other] {
        host.goodbye(&mut desk, "Default").unwrap();
        let id = desk.instance(host).id;
        desk.command(OperatorCommand::ForgetInstance(id));
    }
    assert!(desk.domain.machines.is_empty() && desk.domain.instances.is_empty());
    desk.check();
}
