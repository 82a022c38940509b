//! What holds for every configuration.

use proptest::prelude::*;
use toml::Value;

use super::keys::KEYS;
use super::schema::Kind;
use super::tests::{from_text, loader};
use super::*;

/// A value that this kind of key takes, chosen by a number.
fn some_value(kind: Kind, choice: u32) -> Value {
    let within = |min: u32, max: u32| i64::from(min) + i64::from(choice) % (i64::from(max) - i64::from(min) + 1);
    match kind {
        Kind::Text { .. } | Kind::HostName => Value::from(format!("name-{choice}")),
        Kind::Bool => Value::from(choice.is_multiple_of(2)),
        Kind::Integer { min, max, .. } => Value::from(within(min, max)),
        Kind::LicensedRate => Value::from(i64::from(choice % 500) * 5),
        Kind::Span { min_s, max_s } => Value::from(within(min_s, max_s)),
        Kind::Size { min, max } => Value::from(i64::try_from(min + u64::from(choice) % (max - min)).unwrap()),
        Kind::Choice(choices) => Value::from(choices[usize::try_from(choice).unwrap() % choices.len()]),
        Kind::Path => Value::from(format!("/tmp/state-{}", choice % 100)),
        Kind::Profile => Value::from("open"),
        Kind::FileMode => Value::from(format!("{:04o}", 0o600 + choice % 0o177)),
        Kind::Switched => Value::from(if choice.is_multiple_of(3) {
            "off".to_owned()
        } else {
            format!("127.0.0.1:{}", choice % 1000 + 1)
        }),
        Kind::Addresses => Value::Array(vec![Value::from(format!("[::1]:{}", choice % 60_000 + 2_000))]),
        Kind::ManagerUrl => Value::from(format!("https://lm-{}.example.com/SmartTransport", choice % 100)),
        Kind::Proxy => Value::from(format!("10.0.0.1:{}", choice % 1000 + 1)),
        Kind::Pins => Value::from(format!("{choice:064x}")),
        Kind::Choices(choices) => Value::Array(vec![Value::from(choices[0])]),
        Kind::WebhookUrl => Value::from(format!("https://ops-{choice}.example.com/x")),
        Kind::SyslogAddress => Value::from(format!("udp://10.0.0.1:{}", choice % 1000 + 1)),
        Kind::HostPort => Value::from(format!("mail.example.com:{}", choice % 1000 + 1)),
        Kind::Mailbox => Value::from("a@example.com"),
        Kind::Mailboxes => Value::Array(vec![Value::from("a@example.com")]),
        Kind::RootKey => Value::from(crate::protocol::SecretKey::from_seed([7; 32]).public().to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The law of `config show`: what it prints is the configuration that it shows.
    #[test]
    fn what_is_shown_reads_back_to_the_same(chosen in proptest::collection::btree_map(0..KEYS.len(), any::<u32>(), 0..20)) {
        let mut flags = Vec::new();
        for (place, choice) in chosen {
            let key = KEYS[place];
            let files = ["listen.password_file", "listen.tokens_file", "license.proxy_password_file"];
            let pairs = ["admission.rate_policy", "license.types.*.tier.family", "license.types.*.tier.rank"];
            if key.path.contains('#') || files.contains(&key.path) || pairs.contains(&key.path) {
                continue;
            }
            let path = key.path.replace("status.*", "status.cps").replace('*', "premium");
            let value = some_value(key.kind, choice);
            let text = match value.as_array() {
                Some(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            };
            flags.push(FlagValue { flag: "--set".to_owned(), key: path, value: text });
        }
        // Only what contradicts itself as a whole may be refused; that says nothing about showing.
        if let Ok(loaded) = (Loader { flags, ..loader() }).load() {
            let again = from_text(&loaded.to_toml()).unwrap();
            prop_assert_eq!(again.config, loaded.config);
        }
    }

    /// Whatever a file holds, loading answers.
    #[test]
    fn no_text_makes_loading_panic(text in "[\\[\\]a-z_.='\"0-9{}, \n-]{0,200}") {
        let _ = from_text(&text);
    }
}
