//! The configuration as its users meet it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::keys::KEYS;
use super::schema::Reload;
use super::*;
use crate::admission::{Bounds, Cause, Policy};

pub(super) fn loader() -> Loader {
    let environment = [("HOME".to_owned(), "/users/op".to_owned())].into();
    Loader { file: None, inputs: Inputs { environment, host_name: "sip-a".to_owned() }, flags: Vec::new() }
}

pub(super) fn from_text(text: &str) -> Result<Loaded, Problems> {
    loader().load_text(Path::new("callgate.toml"), text)
}

fn with_environment(variables: &[(&str, &str)], text: &str) -> Result<Loaded, Problems> {
    let mut loader = loader();
    loader.inputs.environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    loader.load_text(Path::new("callgate.toml"), text)
}

fn with_flags(flags: &[(&str, &str)], text: &str) -> Result<Loaded, Problems> {
    let flag = |(key, value): &(&str, &str)| FlagValue {
        flag: "--set".to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    Loader { flags: flags.iter().map(flag).collect(), ..loader() }.load_text(Path::new("callgate.toml"), text)
}

#[test]
fn nothing_configured_gives_the_defaults() {
    let loaded = loader().load().unwrap();
    assert_eq!(loaded.config, Config::defaults("sip-a", Path::new("/users/op/.local/state/callgate")));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let policy = loaded.config.policy();
    let expected = Policy {
        license_types: policy.license_types.clone(),
        default_type_call: policy.default_type_call,
        ..Policy::default()
    };
    assert_eq!(policy, expected, "the gate's own defaults and the configuration's agree");
    assert_eq!(
        loaded.config.bounds(),
        Bounds { rate_max: Cps::saturating(2500), ..Bounds::default() },
        "and so do the bounds"
    );
}

#[test]
fn every_key_of_the_design_is_accepted() {
    let loaded = from_text(
        r#"
        [node]
        name = "sip-a"
        data_dir = "/var/lib/callgate"
        max_call_rate = 2500
        [license]
        profile = "open"
        enabled = true
        count = 100
        sessions = 500
        [license.types.premium]
        count = 10
        [listen]
        resp = ["127.0.0.1:7500", "unix:/run/callgate/callgate.sock"]
        datagram = ["127.0.0.1:7500"]
        http = "127.0.0.1:7501"
        reactors = 1
        [admission]
        mode = "shadow"
        rate_policy = { burst = 20 }
        strict_trunks = true
        suspect_grace = "60s"
        [admission.export_control]
        enabled = true
        webrtc = false
        [admission.status.trunk-cps]
        sip_status = 486
        [[trunk]]
        name = "carrier-a"
        cps = 7
        [[tenant]]
        name = "example.com"
        sessions = 3
        "#,
    )
    .unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let policy = loaded.config.policy();
    assert_eq!(policy.trunks["carrier-a"].cps, Cps::new(7), "a trunk's rate need not be whole licenses");
    assert_eq!(policy.tenants["example.com"].sessions, Some(3));
    assert_eq!(policy.rate_policy, crate::admission::RatePolicy::Burst(20));
    assert_eq!(policy.refusal(Cause::TrunkCps).sip_status, 486);
    assert_eq!(policy.refusal(Cause::TenantCps).sip_status, 480);
    assert_eq!(policy.export_control.map(|export| export.limit), Some(2500));
    let types: Vec<_> = policy.license_types.iter().map(|of| (of.name.as_str(), of.count)).collect();
    assert_eq!(types, [("session", Some(500)), ("premium", Some(10))]);
    assert_eq!(policy.default_type_call, Some(0));
}

#[test]
fn the_default_file_is_the_one_in_the_repository_and_reads_to_the_defaults() {
    let text = default_file();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/callgate.toml");
    if std::env::var_os("CALLGATE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "config/callgate.toml differs from `callgate config default`; CALLGATE_BLESS=1 writes it");
    assert_eq!(from_text(&text).unwrap().config, loader().load().unwrap().config);
}

#[test]
fn every_key_of_the_default_file_can_be_taken_out_of_its_comment() {
    let is_key = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b)))
            || (line.starts_with('[') && line.ends_with(']'))
    };
    let mut text = String::new();
    for line in default_file().lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let _ = writeln!(text, "{}", if is_key(bare) { bare } else { line });
    }
    // Files that the example names do not exist here; everything else must read.
    let text = text.replace("proxy_user", "# proxy_user").replace("proxy_password_file", "# proxy_password_file");
    let text = text.replace("\npassword_file", "\n# password_file").replace("tokens_file", "# tokens_file");
    let text = text.replace("\ntoken_file", "\n# token_file").replace("signing_key_file", "# signing_key_file");
    // They go together.
    let text = text.replace("\nuser = ", "\n# user = ");
    let loaded = from_text(&text).unwrap();
    for key in KEYS.iter().filter(|key| !key.doc.is_empty()) {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(default_file().contains(&format!("{name} = ")), "{}", key.path);
    }
    assert_eq!(loaded.config.trunk.len(), 1);
    assert_eq!(loaded.config.license.types["premium"].tier.as_ref().unwrap().rank, 2);
}

#[test]
fn each_key_of_the_structs_is_in_the_table_and_the_other_way_round() {
    let every = from_text(
        "[license]\nsessions = 1\nurl = 'https://lm'\nca_file = '/a'\npin_spki = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='\n\
         proxy = 'a:1'\nproxy_ca_file = '/b'\nstable_id = 'x'\nroot_key = 'O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik'\n\
         [license.ports.x]\ngbps = 1\nfeatures = 'a'\nactive = true\ncard = 'c'\n[license.types.x]\ncount = 1\noverage = true\ntier = { family = 'f', rank = 1 }\n\
         [admission]\nrate_policy = { burst = 1 }\ntrunk_default = { cps = 1, sessions = 1 }\n\
         tenant_default = { cps = 1, sessions = 1 }\n\
         [[trunk]]\nname = 'a'\ncps = 1\nsessions = 1\n[[tenant]]\nname = 'a'\ncps = 1\nsessions = 1\n\
         [cluster]\nca_file = '/a'\ncertificate_file = '/b'\nkey_file = '/c'\n[cluster.peers.x]\naddress = 'a:1'\n\
         [cluster.etcd]\nendpoints = 'http://a:1'\nuser = 'a'\npassword_file = '/p'\nca_file = '/a'\ncertificate_file = '/b'\nkey_file = '/c'\n\
         [[alarms.destination]]\nname = 'a'\nkind = 'webhook'\nformat = 'full'\nseverity = 'major'\ncategories = ['license']\n\
         attach = ['license summary']\ntimeout = 5\nretry_for = 60\naddress = 'udp://a:514'\nfacility = 'local0'\n\
         url = 'https://a/b'\ntrust = 'system+file'\nca_file = '/c'\nserver = 'a:25'\nsecurity = 'tls'\nfrom = 'a@b.c'\nto = ['a@b.c']\n",
    )
    .unwrap();
    let mut missing: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    for path in reload::leaves(&every.config).keys() {
        let key = schema::find(path).unwrap_or_else(|| panic!("{} is not in the table", path.join(".")));
        missing.retain(|path| *path != key.path);
    }
    // `rate_policy` is a table here; the files would have to exist; a share belongs to a cluster's scope.
    let expected = [
        "license.proxy_user",
        "license.proxy_password_file",
        "admission.rate_policy",
        "admission.export_control.share",
        "listen.password_file",
        "listen.tokens_file",
        "alarms.destination.#.token_file",
        "alarms.destination.#.signing_key_file",
        "alarms.destination.#.user",
        "alarms.destination.#.password_file",
    ];
    assert_eq!(missing, expected);
}

#[test]
fn the_later_layer_wins_key_by_key_and_each_value_knows_its_layer() {
    let file = "[license]\ncount = 50\nsessions = 7\n[telemetry]\nlog_level = 'warn'\n";
    let mut loader = loader();
    loader.inputs.environment.insert("CALLGATE_LICENSE__COUNT".to_owned(), "60".to_owned());
    loader.inputs.environment.insert("CALLGATE_TELEMETRY__LOG_LEVEL".to_owned(), "debug".to_owned());
    let flag = FlagValue { flag: "--log-level".into(), key: "telemetry.log_level".into(), value: "trace".into() };
    loader.flags.push(flag);
    let loaded = loader.load_text(Path::new("callgate.toml"), file).unwrap();
    assert_eq!(loaded.config.license.count.rate().get(), 60);
    assert_eq!(loaded.config.license.sessions, Some(7));
    assert_eq!(loaded.config.telemetry.log_level, LogLevel::Trace);
    let origins: BTreeMap<String, String> =
        loaded.shown().into_iter().map(|shown| (shown.key, shown.origin.to_string())).collect();
    assert_eq!(origins["license.count"], "environment CALLGATE_LICENSE__COUNT");
    assert_eq!(origins["license.sessions"], "callgate.toml:3");
    assert_eq!(origins["telemetry.log_level"], "flag --log-level");
    assert_eq!(origins["license.profile"], "default");
}

#[test]
fn the_environment_sets_lists_nested_keys_and_choices_and_leaves_other_variables_alone() {
    let loaded = with_environment(
        &[
            ("CALLGATE_LISTEN__RESP", "127.0.0.1:7600, unix:/run/x.sock"),
            ("CALLGATE_LISTEN__HTTP", "off"),
            ("CALLGATE_ADMISSION__STATUS__TRUNK_CPS__SIP_STATUS", "486"),
            ("CALLGATE_ADMISSION__RATE_POLICY__BURST", "12"),
            ("CALLGATE_LICENSE__TYPES__PREMIUM__COUNT", "3"),
            ("CALLGATE_ADMISSION__STRICT_TRUNKS", "true"),
            ("CALLGATE_SERVICE_HOST", "10.0.0.1"),
            ("CALLGATE_PORT_7500_TCP", "tcp://10.0.0.1:7500"),
        ],
        "",
    )
    .unwrap()
    .config;
    assert_eq!(
        loaded.listen.resp.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:7600", "unix:/run/x.sock"]
    );
    assert_eq!(loaded.listen.http, Switched(None));
    assert_eq!(loaded.admission.status["trunk-cps"].sip_status, 486);
    assert_eq!(loaded.admission.rate_policy, RatePolicy::Burst(12));
    assert_eq!(loaded.license.types["premium"].count, Some(3));
    assert!(loaded.admission.strict_trunks);
    let none = with_environment(&[("CALLGATE_LISTEN__RESP", "")], "").unwrap();
    assert_eq!(none.config.listen.resp, []);
}

#[test]
fn strict_takes_the_place_of_a_burst_and_the_other_way_round() {
    let file = "[admission]\nrate_policy = { burst = 5 }\n";
    let strict = with_flags(&[("admission.rate_policy", "strict")], file).unwrap();
    assert_eq!(strict.config.admission.rate_policy, RatePolicy::Strict);
    let burst = with_flags(&[("admission.rate_policy.burst", "9")], "[admission]\nrate_policy = 'strict'\n").unwrap();
    assert_eq!(burst.config.admission.rate_policy, RatePolicy::Burst(9));
}

#[test]
fn the_state_directory_is_systemds_or_xdgs_or_the_homes() {
    let directory = |variables: &[(&str, &str)]| {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Inputs { environment, host_name: String::new() }.state_directory().map(|path| path.display().to_string())
    };
    let home = ("HOME", "/users/op");
    let xdg = ("XDG_STATE_HOME", "/xdg");
    assert_eq!(directory(&[home]).as_deref(), Some("/users/op/.local/state/callgate"));
    assert_eq!(directory(&[home, xdg]).as_deref(), Some("/xdg/callgate"));
    assert_eq!(
        directory(&[home, ("XDG_STATE_HOME", "not/absolute")]).as_deref(),
        Some("/users/op/.local/state/callgate")
    );
    assert_eq!(
        directory(&[home, xdg, ("STATE_DIRECTORY", "/var/lib/callgate:/x")]).as_deref(),
        Some("/var/lib/callgate")
    );
    assert_eq!(directory(&[]), None);
}

#[test]
fn a_profile_decides_what_is_on_by_default() {
    let cusp = from_text("[license]\nprofile = 'cusp'\n").unwrap().config;
    assert!(!cusp.license.enabled);
    assert_eq!(cusp.profile.name, "cusp");
    let types: Vec<_> = cusp.policy().license_types.into_iter().map(|of| of.name).collect();
    assert_eq!(types, [DEFAULT_TYPE], "calls have sessions to count, though the profile sells none");
    assert!(from_text("[license]\nprofile = 'cusp'\nenabled = true\n").unwrap().config.license.enabled);
}

#[test]
fn a_profile_of_ones_own_lies_beside_the_file_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let text = crate::license::BuiltinProfile::Open.text().replacen("name = \"open\"", "name = \"mine\"", 1);
    std::fs::write(directory.path().join("mine.toml"), text).unwrap();
    let file = directory.path().join("callgate.toml");
    std::fs::write(&file, "[license]\nprofile = 'mine.toml'\n").unwrap();
    let loaded = Loader { file: Some(file), ..loader() }.load().unwrap();
    assert_eq!(loaded.config.profile.name, "mine");
    assert_eq!(loaded.config.license.profile, directory.path().join("mine.toml").display().to_string());
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("password"), "hunter2-hunter2\n").unwrap();
    std::fs::write(directory.path().join("tokens"), "0123456789abcdef\n").unwrap();
    let file = directory.path().join("callgate.toml");
    std::fs::write(
        &file,
        "[listen]\nresp = ['0.0.0.0:7500']\nhttp = '0.0.0.0:7501'\npassword_file = 'password'\ntokens_file = 'tokens'\n",
    )
    .unwrap();
    let loaded = Loader { file: Some(file), ..loader() }.load().unwrap();
    assert!(loaded.secrets.resp_password.as_ref().unwrap().matches(b"hunter2-hunter2"));
    assert!(loaded.secrets.token_matches(b"0123456789abcdef"));
    assert_eq!(loaded.warnings.len(), 2, "both files can be read by everybody: {:?}", loaded.warnings);
    let told = format!("{loaded:?} {} {:?}", loaded.to_toml(), loaded.shown());
    assert!(!told.contains("hunter2") && !told.contains("0123456789abcdef"));
}

#[test]
fn ten_thousand_trunks_load_and_one_more_is_refused() {
    let mut text = String::new();
    for place in 0..10_000 {
        let _ = write!(text, "[[trunk]]\nname = 'trunk-{place}'\ncps = {}\n", place % 100);
    }
    let loaded = from_text(&text).unwrap();
    assert_eq!(loaded.config.policy().trunks.len(), 10_000);
    text.push_str("[[trunk]]\nname = 'one-more'\n");
    let refused = from_text(&text).unwrap_err();
    assert!(refused.to_string().contains("10001 entries"), "{refused}");
}

/// What is wrong, in the order of the snapshot: a title and the file's text.
const BAD_FILES: &[(&str, &str)] = &[
    ("not TOML", "[license\ncount = 5\n"),
    ("no value", "[license]\ncount =\n"),
    ("a key twice", "[license]\ncount = 5\ncount = 10\n"),
    ("a misspelled key", "[license]\ncuont = 100\n"),
    ("a misspelled section", "[licence]\ncount = 100\n"),
    ("a key in the wrong section", "[admission]\ncount = 100\n"),
    ("a key without its section", "data_dir = '/x'\n"),
    ("a secret in the file", "[listen]\npassword = 'hunter2'\n"),
    ("not a multiple of five", "[license]\ncount = 42\n"),
    ("a negative count", "[license]\ncount = -5\n"),
    ("a count beyond 64 bits", "[license]\ncount = 99999999999999999999\n"),
    ("a count as text", "[license]\ncount = '100'\n"),
    ("a count above the host", "[license]\ncount = 5000\n"),
    ("a count above the host as configured", "[node]\nmax_call_rate = 50\n[license]\ncount = 100\n"),
    ("an unknown profile", "[license]\nprofile = 'opne'\n"),
    ("a profile file that is not there", "[license]\nprofile = '/nowhere/mine.toml'\n"),
    ("overage that the profile forbids to change", "[license]\nprofile = 'cusp'\noverage = false\n"),
    (
        "overage of a type that the profile forbids to change",
        "[license]\nprofile = 'expressway'\n[license.types.rms]\noverage = false\n",
    ),
    ("a trunk twice", "[[trunk]]\nname = 'a'\n[[trunk]]\nname = 'b'\n[[trunk]]\nname = 'a'\n"),
    ("a trunk without a name", "[[trunk]]\ncps = 5\n"),
    ("a trunk in single brackets", "[trunk]\nname = 'a'\n"),
    ("a trunk's unknown key", "[[trunk]]\nname = 'a'\nsession = 5\n"),
    ("a trunk's rate too high", "[[trunk]]\nname = 'a'\ncps = 1000001\n"),
    ("an address with a host's name", "[listen]\nresp = ['localhost:7500']\n"),
    ("one address in place of a list", "[listen]\nresp = '127.0.0.1:7500'\n"),
    ("an address twice", "[listen]\nresp = ['127.0.0.1:7500', '127.0.0.1:7500']\n"),
    ("the same address for two front ends", "[listen]\nhttp = '127.0.0.1:7500'\n"),
    ("RESP beyond loopback without a password", "[listen]\nresp = ['0.0.0.0:7500']\n"),
    ("datagrams beyond loopback without a password", "[listen]\ndatagram = ['0.0.0.0:7500']\n"),
    ("one Unix socket for two front ends", "[listen]\nresp = ['unix:x.sock']\ndatagram = ['unix:x.sock']\n"),
    ("HTTP beyond loopback without tokens", "[listen]\nhttp = '[::]:7501'\n"),
    ("a password file that is not there", "[listen]\npassword_file = '/nowhere/password'\n"),
    ("a mode that is none", "[listen]\nunix_mode = 'rw'\n"),
    ("an unknown cause", "[admission.status.trunk-csp]\nsip_status = 480\n"),
    ("a cause that does not refuse", "[admission.status.ok]\nsip_status = 480\n"),
    ("a status that is no refusal", "[admission.status.cps]\nsip_status = 200\n"),
    ("an unknown mode", "[admission]\nmode = 'dry-run'\n"),
    ("an unknown rate policy", "[admission]\nrate_policy = 'loose'\n"),
    ("a burst of nothing", "[admission]\nrate_policy = { burst = 0 }\n"),
    ("a span without a unit", "[admission]\nsuspect_grace = '5 parsecs'\n"),
    ("a lease of nothing", "[admission.leases]\ntalk = 0\n"),
    ("a setup lease above the talk lease", "[admission.leases]\nsetup = '2h'\ntalk = '1h'\n"),
    ("a share above all", "[admission]\nheadroom_percent = 101\n"),
    ("export control over a cluster, and none there", "[admission.export_control]\nscope = 'cluster'\n"),
    ("export control lifted", "[admission.export_control]\nlimit = 5000\n"),
    ("a tier without a family", "[license.types.premium]\ntier = { rank = 2 }\n"),
    (
        "a rank twice",
        "[license.types.a]\ntier = { family = 'f', rank = 1 }\n[license.types.b]\ntier = { family = 'f', rank = 1 }\n",
    ),
    ("a size too small", "[journal]\nsegment_size = '1KiB'\n"),
    ("yes in place of true", "[journal]\nenabled = 'yes'\n"),
    ("a section as a value", "journal = 'on'\n"),
    ("a table as a value", "[license.count]\nvalue = 5\n"),
    ("a node's name with blanks", "[node]\nname = 'sip a'\n"),
    (
        "a state directory too deep for a socket",
        "[node]\ndata_dir = '/var/lib/callgate/a-very-long-name-of-a-directory-that-goes-on-and-on/and-another-one-like-it-that-does-the-same'\n",
    ),
    ("three things at once", "[license]\ncount = 42\n[listen]\nhttp = 'here'\n[telemetry]\nlog_levle = 'info'\n"),
];

#[test]
fn every_error_names_place_key_found_and_accepted() {
    let mut told = String::new();
    for (title, text) in BAD_FILES {
        let problems = from_text(text).expect_err(title);
        assert!(!problems.to_string().contains("hunter2"), "a secret is not repeated");
        let _ = writeln!(told, "--- {title}\n{problems}\n");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn errors_of_the_environment_and_of_flags_name_the_variable_and_the_flag() {
    let mut told = String::new();
    for (name, value) in [
        ("CALLGATE_LICENSE__COUNT", "42"),
        ("CALLGATE_LICENSE__COUNT", "many"),
        ("CALLGATE_LICENSE__CUONT", "40"),
        ("CALLGATE_TRUNK__0__CPS", "5"),
        ("CALLGATE_LISTEN__RESP", "127.0.0.1:7500,here"),
        ("CALLGATE_LISTEN__PASSWORD", "hunter2"),
        ("CALLGATE_ADMISSION__STATUS__TRUNK_CSP__SIP_STATUS", "480"),
    ] {
        let problems = with_environment(&[(name, value)], "").unwrap_err();
        let _ = writeln!(told, "{problems}\n");
    }
    for flag in [("telemetry.log_level", "loud"), ("node.max_call_rates", "5"), ("trunk.0.cps", "5")] {
        let _ = writeln!(told, "{}\n", with_flags(&[flag], "").unwrap_err());
    }
    assert!(!told.contains("hunter2"), "a secret is not repeated");
    insta::assert_snapshot!(told);
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let missing = Loader { file: Some("/nowhere/callgate.toml".into()), ..loader() };
    insta::assert_snapshot!(missing.load().unwrap_err());
}

#[test]
fn show_tells_every_value_and_where_it_came_from() {
    let mut loader = loader();
    loader.inputs.environment.insert("CALLGATE_LICENSE__COUNT".to_owned(), "60".to_owned());
    let flag = FlagValue { flag: "--set".into(), key: "admission.mode".into(), value: "shadow".into() };
    loader.flags.push(flag);
    let text = "[license.types.'a b']\ncount = 3\n[admission.status.cps]\nretry_after = 9\n[[trunk]]\nname = 'carrier-a'\ncps = 7\n";
    let loaded = loader.load_text(Path::new("callgate.toml"), text).unwrap();
    insta::assert_snapshot!(loaded.to_toml());
}

#[test]
fn warnings_name_their_key() {
    let loaded = from_text("[license]\ncount = 0\n[listen]\nresp = []\nhttp = 'off'\ndatagram = []\n").unwrap();
    insta::assert_snapshot!(loaded.warnings.join("\n"));
}

fn reload(from: &str, to: &str) -> Result<Change, Refused> {
    from_text(from).unwrap().config.reload_from(from_text(to).unwrap().config)
}

#[test]
fn a_reload_takes_over_what_loses_no_call() {
    let change = reload(
        "[[trunk]]\nname = 'a'\n",
        "[license]\ncount = 200\n[admission]\nmode = 'shadow'\n[[trunk]]\nname = 'a'\ncps = 5\n[[trunk]]\nname = 'b'\n",
    )
    .unwrap();
    assert_eq!(change.keys, ["admission.mode", "license.count", "trunk"]);
    assert_eq!(change.config.license.count.rate().get(), 200);
    assert_eq!(reload("", "").unwrap().keys, Vec::<String>::new());
}

#[test]
fn a_reload_refuses_what_needs_a_restart_as_a_whole_and_says_why() {
    let refused = reload(
        "",
        "[node]\nname = 'sip-b'\ndata_dir = '/elsewhere'\nmax_call_rate = 5000\n[license]\ncount = 200\nprofile = 'cusp'\n\
         [listen]\nresp = ['127.0.0.1:7600']\nreactors = 2\n[admission]\ncalls_max = 100\n",
    )
    .unwrap_err();
    insta::assert_snapshot!(refused);
}

#[test]
fn a_types_count_can_change_and_the_set_of_types_cannot() {
    let premium = |count| format!("[license.types.premium]\ncount = {count}\n");
    assert_eq!(reload(&premium(1), &premium(2)).unwrap().keys, ["license.types.premium.count"]);
    let refused = reload("", &premium(1)).unwrap_err();
    assert!(refused.to_string().contains("license.types cannot change from session to session, premium"), "{refused}");
}

#[test]
fn a_lowered_ceiling_can_be_raised_to_what_was_allocated_and_no_further() {
    let of = |rate: u32| from_text(&format!("[node]\nmax_call_rate = {rate}\n")).unwrap().config;
    let lowered = of(1000).reload_from(of(500)).unwrap().config;
    let restored = lowered.reload_from(of(1000)).unwrap().config;
    let refused = restored.reload_from(of(1005)).unwrap_err();
    assert_eq!(refused.0.len(), 1);
    assert!(refused.to_string().contains("1000 calls per second were allocated"), "{refused}");
}

#[test]
fn every_reason_for_a_restart_reads_as_a_sentence() {
    for key in KEYS {
        if let Reload::Restart(reason) = key.reload {
            assert!(reason.len() > 15 && !reason.ends_with('.'), "{}: {reason}", key.path);
        }
    }
}

#[test]
fn the_way_to_the_manager_is_checked_as_a_whole() {
    for (text, key) in [
        ("trust = 'file'", "license.ca_file"),
        ("trust = 'system+file'", "license.ca_file"),
        ("trust = 'pin_spki'", "license.pin_spki"),
        ("url = 'https://lm'\ntransport = 'proxy'", "license.proxy"),
        ("transport = 'on_prem'", "license.url"),
        ("proxy_user = 'op'", "license.proxy_password_file"),
        ("url = 'http://lm'", "license.url"),
        ("url = 'https://op:hunter2@lm'", "license.url"),
        ("proxy = 'http://op:hunter2@proxy:1'", "license.proxy"),
        ("proxy = 'proxy'", "license.proxy"),
        ("pin_spki = 'abc'", "license.pin_spki"),
        ("root_key = 'abc'", "license.root_key"),
        ("timeout = 0", "license.timeout"),
    ] {
        let Problems(problems) = from_text(&format!("[license]\n{text}\n")).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key], "{text}");
    }
    let loaded = from_text("[license]\nurl = 'https://lm.example.com/SmartTransport'\n").unwrap();
    assert_eq!(loaded.config.license.url.as_deref(), Some("https://lm.example.com"), "both path shapes mean our API");
    let warned = from_text("[license]\nurl = 'https://lm'\nproxy = '10.0.0.1:3128'\n").unwrap().warnings;
    assert!(warned.len() == 1 && warned[0].contains("license.proxy"), "{warned:?}");
    for (profile, warns) in [("open", false), ("expressway", false), ("ncs540", false), ("cusp", true), ("ccx", true)] {
        let text = format!("[license]\nprofile = '{profile}'\nshare_hostname = false\n");
        let warned = from_text(&text).unwrap().warnings;
        assert_eq!(
            warned.iter().any(|warning| warning.contains("license.share_hostname")),
            warns,
            "{profile}: {warned:?}"
        );
    }
}

#[test]
fn a_proxys_password_comes_from_a_file_and_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("password"), "hunter2-hunter2\n").unwrap();
    let file = directory.path().join("callgate.toml");
    let text = "[license]\nurl = 'https://lm'\ntransport = 'proxy'\nproxy = 'proxy:1'\nproxy_user = 'op'\n\
                proxy_password_file = 'password'\n";
    std::fs::write(&file, text).unwrap();
    let loaded = Loader { file: Some(file), ..loader() }.load().unwrap();
    assert!(loaded.secrets.proxy_password.as_ref().unwrap().matches(b"hunter2-hunter2"));
    let told = format!("{loaded:?} {} {:?}", loaded.to_toml(), loaded.shown());
    assert!(!told.contains("hunter2-"), "{told}");
}

#[test]
fn what_an_operator_changed_by_command_lies_over_every_layer_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let overrides = crate::shell::license::overrides::Overrides { count: Some(200), ..Default::default() };
    overrides.write(directory.path()).unwrap();
    let flags = [("node.data_dir", data_dir), ("license.count", "50"), ("license.sessions", "7")];
    let loaded = with_flags(&flags, "[license]\ncount = 10\n").unwrap();
    assert_eq!((loaded.config.license.count.rate().get(), loaded.config.license.sessions), (200, Some(7)));
    assert!(loaded.to_toml().lines().any(|line| line.starts_with("count = 200 ") && line.contains("override")));
    // A damaged file is told, and the configuration is in force.
    std::fs::write(directory.path().join("license/overrides.json"), "{\"count\":7}").unwrap();
    let loaded = with_flags(&flags, "").unwrap();
    assert_eq!(loaded.config.license.count.rate().get(), 50);
    assert!(loaded.warnings.iter().any(|warning| warning.contains("overrides.json")), "{:?}", loaded.warnings);
}
