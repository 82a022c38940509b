//! What changes under the driver: the configuration, the way to the manager, the ports, the day.

use super::*;
use crate::license::Profile;
use crate::license::agent::{Addresses, AgentState, Authorization, Membership, TransportClass};
use crate::license::ports::{Counts, DailyCount};
use crate::license::usage::Usage;
use crate::license::view::PlatformPage;
use crate::shell::license::driver::stores::Stores;
use crate::units::UnixMillis;

/// Changes what was kept, while nothing runs.
fn edit(dir: &Path, change: impl FnOnce(&mut AgentState)) {
    let profile = Profile::builtin(crate::license::BuiltinProfile::Open).unwrap();
    let (mut stores, found, _) = Stores::open(dir, None, Some("a machine"), &profile).unwrap();
    let mut state = found.stored.state.unwrap();
    change(&mut state);
    stores.save(&state).unwrap();
}

fn counts(rig: &Rig) -> impl Future<Output = Vec<(String, u32, u32)>> {
    let context = Arc::clone(&rig.context);
    async move {
        let page = context.license.look(PlatformPage::of).await.unwrap();
        page.counts.into_iter().map(|of| (of.name, of.current, of.next)).collect()
    }
}

const PORTS: [(&str, &str); 4] = [
    ("license.profile", "ncs540"),
    ("license.enabled", "true"),
    ("license.ports.a.gbps", "100"),
    ("license.ports.a.features", "l3vpn"),
];

#[tokio::test]
async fn counted_ports_are_in_use_and_a_changed_one_counts_from_the_next_day() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &PORTS);
    let line = |name: &str, current, next| (name.to_owned(), current, next);
    rig.until("the counted use", |context| {
        let status = context.license.status().unwrap();
        let used: Vec<_> = status.types.iter().map(|of| (of.type_name.as_str(), of.requested, of.used)).collect();
        used == [("essential", Some(10), 10), ("advanced", Some(10), 10), ("tracking", Some(1), 1)]
    })
    .await;
    let more = load(dir.path(), &[&PORTS[..], &[("license.ports.b.gbps", "25")]].concat());
    rig.context.license.reconfigure(&more.config, &more.secrets).await.unwrap();
    let now_and_next = [line("essential", 10, 13), line("advanced", 10, 10), line("tracking", 1, 1)];
    assert_eq!(counts(&rig).await, now_and_next);
    let tag = "ncs540.essential";
    for _ in 0..100 {
        if rig.context.license.look(|input| input.usage.next(tag)).await.unwrap() == Some(13) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = rig.context.license.look(move |input| (input.usage.observed(tag), input.usage.next(tag))).await.unwrap();
    assert_eq!(told, (Some(10), Some(13)), "what a report says");
    rig.stop().await;
    // The next day: what was counted is of another day than today.
    let usage_file = dir.path().join("license/usage");
    let mut usage = Usage::decode(&std::fs::read(&usage_file).unwrap()).unwrap();
    let yesterday = usage.capacity.unwrap().day - 1;
    usage.capacity = Some(DailyCount { day: yesterday, counts: Counts { essential: 10, advanced: 10, systems: 1 } });
    std::fs::write(&usage_file, usage.encode()).unwrap();
    let mut rig = start(dir.path(), &[&PORTS[..], &[("license.ports.b.gbps", "25")]].concat());
    rig.until("today's count", |context| {
        let status = context.license.status().unwrap();
        status.types.iter().any(|of| of.requested == Some(13) && of.used == 13)
    })
    .await;
    assert_eq!(counts(&rig).await[0], line("essential", 13, 13));
    rig.stop().await;
}

#[tokio::test]
async fn a_way_that_is_locked_is_gone_although_the_configuration_says_another_until_it_says_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let old = [("license.profile", "expressway"), ("license.url", "https://old.invalid")];
    start(dir.path(), &old).stop().await;
    edit(dir.path(), |state| {
        state.registration = Registration::Registered;
        state.authorization = Authorization::Waiting;
        state.membership = Some(Membership {
            instance: "i".to_owned(),
            account: "acme".to_owned(),
            virtual_account: "main".to_owned(),
            export_allowed: false,
            registered_at: state.high_water,
            renewed_at: None,
            transport: TransportClass::Direct,
            addresses: Addresses { url: Some("https://old.invalid".to_owned()), proxy: None },
            hostname: None,
        });
    });
    let other = [
        ("license.profile", "expressway"),
        ("license.url", "https://new.invalid"),
        ("license.transport", "proxy"),
        ("license.proxy", "proxy.invalid:3128"),
    ];
    let way = |rig: &Rig| {
        let context = Arc::clone(&rig.context);
        async move {
            let mode =
                |input: &crate::license::view::ViewInput<'_>| Page::Status.json(input, 1)["transport"]["mode"].clone();
            let look = move |input: &crate::license::view::ViewInput<'_>| {
                (input.server.map(str::to_owned), input.proxy.map(str::to_owned), mode(input))
            };
            context.license.look(look).await.unwrap()
        }
    };
    let direct = |url: &str| (Some(url.to_owned()), None, "direct".into());
    let mut rig = start(dir.path(), &other);
    rig.until("TRANSPORT_LOCKED", |context| context.alarms.is_active(AlarmId::TransportLocked, "")).await;
    assert_eq!(way(&rig).await, direct("https://old.invalid"));
    for _ in 0..100 {
        if rig.state(|state| state.latest_failure.is_some()).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failure = rig.state(|state| state.latest_failure.clone().unwrap().text).await;
    assert!(failure.contains("old.invalid"), "{failure}");
    // The configuration comes back to the way, and the manager has moved meanwhile.
    let back = load(dir.path(), &[("license.profile", "expressway"), ("license.url", "https://moved.invalid")]);
    rig.context.license.reconfigure(&back.config, &back.secrets).await.unwrap();
    assert_eq!(way(&rig).await, direct("https://moved.invalid"));
    assert!(!rig.context.alarms.is_active(AlarmId::TransportLocked, ""));
    // Another way is refused while it runs, and everything else of that configuration too.
    let mut flags = other.to_vec();
    flags.push(("license.share_hostname", "false"));
    let refused = load(dir.path(), &flags);
    let told = rig.context.license.reconfigure(&refused.config, &refused.secrets).await.unwrap_err();
    assert!(told.contains("deregistration"), "{told}");
    rig.until("TRANSPORT_LOCKED", |context| context.alarms.is_active(AlarmId::TransportLocked, "")).await;
    assert_eq!(way(&rig).await, direct("https://moved.invalid"));
    assert!(!rig.context.license.look(|input| input.setup.withhold_hostname).await.unwrap());
    rig.stop().await;
}

/// Everything that a configuration can change under the driver.
async fn everything(rig: &Rig) -> String {
    let policy = format!("{:?}", rig.context.gate.policy());
    let seen = |input: &crate::license::view::ViewInput<'_>| {
        format!("{:?} {:?} {:?} {:?} {:?}", input.setup, input.ports, input.server, input.proxy, input.usage.capacity)
    };
    policy + &rig.context.license.look(seen).await.unwrap()
}

#[tokio::test]
async fn a_refused_configuration_leaves_everything_as_it_was_whoever_refuses() {
    let dir = tempfile::tempdir().unwrap();
    // This product cannot be switched off.
    let base = [
        ("license.profile", "ccx"),
        ("license.enabled", "true"),
        ("license.url", "https://old.invalid"),
        ("license.types.standard.count", "5"),
    ];
    let rig = start(dir.path(), &base);
    let before = everything(&rig).await;
    let further = [
        ("license.url", "https://new.invalid"),
        ("license.ports.a.gbps", "100"),
        ("license.types.standard.count", "7"),
    ];
    let new = |last: &[(&'static str, &'static str)]| load(dir.path(), &[&base[..1], &further, last].concat());
    let by_the_agent = new(&[("license.enabled", "false")]);
    let refused = rig.context.license.reconfigure(&by_the_agent.config, &by_the_agent.secrets).await.unwrap_err();
    assert!(refused.contains("cannot be disabled"), "{refused}");
    assert_eq!(everything(&rig).await, before);
    let by_the_gate = new(&[("license.enabled", "true"), ("license.types.extra.count", "3")]);
    let refused = rig.context.license.reconfigure(&by_the_gate.config, &by_the_gate.secrets).await.unwrap_err();
    assert!(refused.contains("license types"), "{refused}");
    assert_eq!(everything(&rig).await, before);
    let good = new(&[("license.enabled", "true")]);
    rig.context.license.reconfigure(&good.config, &good.secrets).await.unwrap();
    let after = everything(&rig).await;
    assert!(after.contains("new.invalid") && after.contains("gbps: 100"), "{after}");
    rig.stop().await;
}

#[tokio::test]
async fn a_configuration_whose_state_cannot_be_written_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let of = |enabled| [("license.profile", "cusp"), ("license.enabled", enabled), ("license.count", "50")];
    let rig = start(dir.path(), &of("false"));
    let before = everything(&rig).await;
    // A directory stands where the file beside is.
    let blocks = ["license/state.new", "node/license-state.new"].map(|name| dir.path().join(name));
    blocks.iter().for_each(|block| std::fs::create_dir(block).unwrap());
    let good = load(dir.path(), &of("true"));
    let refused = rig.context.license.reconfigure(&good.config, &good.secrets).await.unwrap_err();
    assert!(refused.contains("STATE_NOT_SAVED"), "{refused}");
    assert_eq!(everything(&rig).await, before);
    blocks.iter().for_each(|block| std::fs::remove_dir(block).unwrap());
    rig.context.license.reconfigure(&good.config, &good.secrets).await.unwrap();
    assert_ne!(everything(&rig).await, before);
    rig.stop().await;
}

#[tokio::test]
async fn nobody_reads_of_a_state_before_calls_are_judged_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [("license.profile", "cusp"), ("license.enabled", "true")];
    start(dir.path(), &flags).stop().await;
    edit(dir.path(), |state| {
        state.evaluation.used_s = state.evaluation.limit_s - 2;
        state.evaluation.saved_at = UnixMillis(0);
    });
    let rig = start(dir.path(), &flags);
    for look in 0.. {
        let gate = Arc::clone(&rig.context);
        let seen = move |input: &crate::license::view::ViewInput<'_>| {
            (input.state.authorization, gate.gate.verdict().get().calls)
        };
        match rig.context.license.look(seen).await.unwrap() {
            (Authorization::EvaluationExpired, refused) => {
                assert_eq!(refused, Some(VerdictCause::EvaluationExpired));
                break;
            }
            (_, refused) => assert_eq!(refused, None),
        }
        assert!(look < 1_000_000, "evaluation ends");
    }
    rig.stop().await;
}
