use std::collections::BTreeMap;

use super::*;

fn inputs() -> Inputs {
    let environment = BTreeMap::from([("HOME".to_owned(), "/var/empty".to_owned())]);
    Inputs { environment, host_name: "Host-1".to_owned() }
}

fn load(text: &str) -> Result<ManagerConfig, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("manager.toml");
    std::fs::write(&file, text).unwrap();
    ManagerLoader { file: Some(file), ..ManagerLoader::default() }.load(&inputs())
}

#[test]
fn the_printed_default_is_what_runs_without_a_file() {
    let printed = load(&default_file()).unwrap();
    let none = ManagerLoader::default().load(&inputs()).unwrap();
    assert_eq!(format!("{printed:?}"), format!("{none:?}"));
    assert_eq!(none.data_dir, PathBuf::from("/var/empty/.local/state/callgate-manager"));
}

#[test]
fn the_shipped_file_is_the_printed_default() {
    assert_eq!(include_str!("../../../../config/manager.toml"), default_file());
}

#[test]
fn every_key_is_set_by_its_name() {
    let config = load(
        "data_dir = \"/srv/m\"\nlisten = \"[::1]:0\"\nnames = [\"license.example.org\", \"192.0.2.7\"]\n\
         database = \"postgres://m@db/callgate\"\naccount = \"Example\"\n[tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n\
         [log]\nlevel = \"debug\"\nformat = \"json\"\n[limits]\nconnections_max = 11\nregistrations_per_minute = 12\n\
         logins_per_minute = 13\nrequest_time = \"2m\"\ndrain_time = 0\n",
    )
    .unwrap();
    assert_eq!((config.data_dir, config.listen.port()), (PathBuf::from("/srv/m"), 0));
    assert_eq!(config.database, Database::Url("postgres://m@db/callgate".parse().unwrap()));
    assert_eq!((config.connections_max, config.registrations_per_minute, config.logins_per_minute), (11, 12, 13));
    assert_eq!((config.request_time, config.drain_time), (Seconds(120), Seconds(0)));
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.tls_files, Some((PathBuf::from("/c.pem"), PathBuf::from("/k.pem"))));
}

#[test]
fn every_error_names_line_key_found_and_accepted_and_none_repeats_a_url() {
    let problems = load(
        "listen = \"nowhere\"\nnames = [\"UPPER\"]\ndatabase = \"mysql://u:hunter2@h/d\"\nnonsense = 1\n\
         [limits]\nconnections_max = 1\n[tls]\nkey = \"/k.pem\"\n",
    )
    .unwrap_err();
    let told = problems.to_string();
    for part in [
        ":1: listen\n    found:    \"nowhere\"",
        ":2: names",
        ":3: database\n    found:    another text\n    accepted: \"sqlite\"",
        ":4: nonsense\n    found:    a key that doesn't exist\n    accepted: data_dir, listen",
        ":6: limits.connections_max\n    found:    1\n    accepted: a number from 10 to 100000",
        "both, or neither",
    ] {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    assert!(!told.contains("hunter2"));
    for url in ["postgres://u:hunter2@h/d", "postgres://u@h/d?password=hunter2"] {
        let told = load(&format!("database = \"{url}\"\n")).unwrap_err().to_string();
        assert!(told.contains("without a password") && !told.contains("hunter2"), "{told}");
        let flag = ManagerLoader { database: Some(url.to_owned()), ..ManagerLoader::default() };
        let told = flag.load(&inputs()).unwrap_err().to_string();
        assert!(told.contains("without a password") && !told.contains("hunter2"), "{told}");
        assert!(!format!("{flag:?}").contains("hunter2"));
    }
    assert!(load("listen = ").unwrap_err().to_string().contains("TOML"));
    assert!(load("database = \"sqlite\"\ndatabase_file = \"/x\"\n").unwrap_err().to_string().contains("one of"));
}

#[test]
fn the_certificate_names_this_host_and_what_the_operator_adds() {
    let config = load("names = [\"license.example.org\"]\nlisten = \"192.0.2.7:7510\"\n").unwrap();
    let expected = ["localhost", "127.0.0.1", "::1", "host-1", "192.0.2.7", "license.example.org"];
    assert_eq!(config.certificate(), CertificateSource::Own { names: expected.map(str::to_owned).to_vec() });
}

#[test]
fn alerts_go_to_destinations_of_the_same_shape_as_a_sidecars() {
    let config = load(
        "[alerts]\nlog = false\ndamping = 5\n[[alerts.destination]]\nname = \"ops\"\nkind = \"webhook\"\n\
         url = \"https://ops.example.com/x\"\ncategories = [\"pool\"]\n[[alerts.destination]]\nname = \"log2\"\nkind = \"syslog\"\n\
         server = \"a:25\"\n",
    )
    .unwrap();
    assert_eq!((config.alerts_log, config.damping), (false, Seconds(5)));
    let names: Vec<&str> = config.destinations.iter().map(|setup| setup.destination.name.as_str()).collect();
    assert_eq!(names, ["ops", "log2"]);
    assert!(
        config.warnings.len() == 1 && config.warnings[0].contains("alerts.destination.1.server"),
        "{:?}",
        config.warnings
    );
    let told = load(
        "[[alerts.destination]]\nname = \"a\"\nkind = \"mail\"\nattach = [\"license summary\"]\n[[alerts.destination]]\n\
         kind = \"pigeon\"\nulr = \"x\"\n",
    )
    .unwrap_err()
    .to_string();
    for part in [
        "alerts.destination.0.server\n    found:    nothing, and kind = \"mail\"",
        "alerts.destination.0.attach",
        "accepted: nothing: these commands are a sidecar's",
        ":6: alerts.destination.1.kind\n    found:    \"pigeon\"\n    accepted: \"log\", \"syslog\"",
        ":7: alerts.destination.1.ulr\n    found:    an unknown key",
        "alerts.destination.1.name\n    found:    no name",
    ] {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
}
