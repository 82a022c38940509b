//! Operators: who may what, what the document says, and the commands.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use callgate::manager::pki::SigningKeys;
use callgate::units::UnixMillis;

use super::rig::{Agent, Answer, Manager, PATIENCE, now};
use crate::front_ends::openapi::fits;
use crate::support::within;

fn made_key(manager: &Manager, role: &str) -> String {
    manager.says(&["key", "create", role, "--role", role]).trim().to_owned()
}

#[test]
fn nothing_but_health_answers_without_authentication() {
    let manager = Manager::start();
    let owner = manager.owner_key();
    let document = manager.ask("GET", "/openapi.json", Some(&owner), "").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if path.starts_with("/v1/agent/") {
                continue;
            }
            let target = path.replace(['{', '}'], "");
            let open = ["/healthz", "/readyz"].contains(&path.as_str());
            for key in [None, Some("cgk_nonsense"), Some("")] {
                let answer = manager.ask(&method.to_uppercase(), &target, key, "");
                match (open, path.as_str()) {
                    (true, _) => assert_eq!(answer.status, 200, "{path}"),
                    // The login asks for a body; too many tries are refused.
                    (false, "/v1/sessions") => assert!([415, 429].contains(&answer.status), "{answer:?}"),
                    (false, _) => assert!([401, 429].contains(&answer.status), "{method} {path}: {answer:?}"),
                }
            }
        }
    }
    assert_eq!(manager.ask("GET", "/v1/account", Some(&owner), "").status, 200, "a good key is not limited");
}

#[test]
fn a_role_may_what_it_may_and_no_more() {
    let manager = Manager::start();
    let roles = ["viewer", "operator", "license-admin", "owner"];
    let keys = roles.map(|role| made_key(&manager, role));
    let tries = [
        (0, "GET", "/v1/instances", String::new()),
        (1, "POST", "/v1/tokens", json!({}).to_string()),
        (2, "POST", "/v1/lots", json!({ "tag": "cps", "quantity": 1 }).to_string()),
        (3, "POST", "/v1/api-keys", json!({ "name": "x", "role": "viewer" }).to_string()),
        (3, "GET", "/v1/users", String::new()),
        (3, "POST", "/v1/keys/rotate", String::new()),
        (3, "POST", "/v1/backups", String::new()),
        (3, "PATCH", "/v1/account", json!({ "token_days": 7 }).to_string()),
    ];
    for (least, method, path, body) in &tries {
        for (place, key) in keys.iter().enumerate() {
            let status = manager.ask(method, path, Some(key), body).status;
            let expected = if place >= *least { [200, 201] } else { [403, 403] };
            assert!(expected.contains(&status), "{} {method} {path}: {status}", roles[place]);
        }
    }
    // A key that is revoked is a key no more.
    let list: Value = serde_json::from_str(&manager.says(&["key", "list", "--format", "json"])).unwrap();
    let id = list["items"].as_array().unwrap().iter().find(|key| key["name"] == "viewer").unwrap()["id"].clone();
    manager.says(&["key", "revoke", id.as_str().unwrap()]);
    assert_eq!(manager.ask("GET", "/v1/instances", Some(&keys[0]), "").status, 401);
}

#[test]
fn a_user_logs_in_until_logged_out_disabled_or_given_another_password() {
    let manager = Manager::with("[limits]\nlogins_per_minute = 12\n");
    std::fs::write(manager.path("password"), "correct horse battery\n").unwrap();
    let password = manager.path("password");
    manager.says(&["user", "create", "ann", "--role", "operator", "--password-file", password.to_str().unwrap()]);
    let owner = manager.owner_key();
    let login = |password: &str| {
        manager.ask("POST", "/v1/sessions", None, &json!({ "name": "ann", "password": password }).to_string())
    };
    let secret = |answer: &Answer| answer.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(login("correct horse batterz").status, 401);
    let session = secret(&login("correct horse battery"));
    let who = manager.ask("GET", "/v1/whoami", Some(&session), "").json();
    assert_eq!((who["name"].as_str(), who["role"].as_str()), (Some("user:ann"), Some("operator")));
    assert_eq!(manager.ask("DELETE", "/v1/sessions/current", Some(&session), "").status, 204);
    assert_eq!(manager.ask("GET", "/v1/whoami", Some(&session), "").status, 401);

    let id = manager.ask("GET", "/v1/users", Some(&owner), "").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let change = |body: Value| {
        let answer = manager.ask("PATCH", &format!("/v1/users/{id}"), Some(&owner), &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let session = secret(&login("correct horse battery"));
    change(json!({ "disabled": true }));
    assert_eq!(manager.ask("GET", "/v1/whoami", Some(&session), "").status, 401);
    assert_eq!(login("correct horse battery").status, 401);
    change(json!({ "disabled": false }));
    let session = secret(&login("correct horse battery"));
    let another = json!({ "old": "correct horse battery", "password": "another long password" }).to_string();
    assert_eq!(manager.ask("POST", "/v1/users/current/password", Some(&session), &another).status, 200);
    assert_eq!(manager.ask("GET", "/v1/whoami", Some(&session), "").status, 401);
    assert_eq!(login("another long password").status, 201);
    // Whoever guesses is stopped.
    let last = (0..12).map(|_| login("guess guess guess")).find(|answer| answer.status == 429).expect("a limit");
    assert!(last.header("retry-after").is_some());
    for secret in ["correct horse", "another long", &session] {
        assert!(!manager.log().contains(secret), "a secret is in the log");
    }
}

/// Asks, and holds the answer against the document.
fn ask(manager: &Manager, document: &Value, method: &str, path: &str, target: &str, key: &str, body: &str) -> u16 {
    let answer = manager.ask(&method.to_uppercase(), target, Some(key), body);
    let described = &document["paths"][path][method]["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{method} {target} answers {}, which isn't documented: {answer:?}", answer.status);
    let Some(kind) = answer.header("content-type") else {
        assert_eq!(answer.status, 204, "{method} {target}");
        return answer.status;
    };
    let schema = &described["content"][kind]["schema"];
    assert!(schema.is_object(), "{method} {target} {}: {kind} isn't documented", answer.status);
    if kind.ends_with("json")
        && let Err(error) = fits(document, schema, &answer.json())
    {
        panic!("{method} {target} {}: {error}", answer.status);
    }
    answer.status
}

#[test]
fn every_documented_operation_answers_as_documented() {
    let manager = Manager::start();
    let owner = manager.owner_key();
    let document = manager.ask("GET", "/openapi.json", Some(&owner), "").json();
    // Something of everything.
    manager.says(&["pool", "add", "cps", "5"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    agent.entitle(&manager, &keys, 15);
    agent.report(&manager, &keys, 15, 3);
    manager.says(&["report", "run", "inventory"]);
    manager.says(&["account", "create", "lab"]);
    std::fs::write(manager.path("password"), "correct horse battery\n").unwrap();
    let password = manager.path("password");
    manager.says(&["user", "create", "ann", "--role", "viewer", "--password-file", password.to_str().unwrap()]);

    let list = |path: &str| manager.ask("GET", path, Some(&owner), "").json()["items"].clone();
    let first = |path: &str, name: &str| list(path)[0][name].as_str().unwrap_or("none").to_owned();
    let lab =
        list("/v1/virtual-accounts").as_array().unwrap().iter().find(|one| one["name"] == "lab").unwrap()["id"].clone();
    let alert = first("/v1/alerts", "id");
    let known = [
        ("{virtual_account}", "lab".to_owned()),
        ("{tag}", "cps".to_owned()),
        ("{lot}", first("/v1/lots", "id")),
        ("{token}", first("/v1/tokens", "id")),
        ("{instance}", first("/v1/instances", "id")),
        ("{report}", first("/v1/reports", "id")),
        ("{user}", first("/v1/users", "id")),
        ("{api_key}", "ak-0000000000000000".to_owned()),
    ];
    let bodies = [
        ("setPolicy", json!({ "ooc_scope": "offender_only", "overage": { "overage_strategy": { "percentage": 10 } } })),
        ("createVirtualAccount", json!({ "name": "new", "description": "x" })),
        ("updateVirtualAccount", json!({ "name": "lab", "description": "y" })),
        ("defineTag", json!({ "tag": "premium", "display_name": "Premium", "tier": { "family": "f", "level": 2 } })),
        ("addLot", json!({ "tag": "cps", "quantity": 7, "note": "n" })),
        ("transferLicenses", json!({ "to": lab, "quantity": 1 })),
        ("createToken", json!({ "virtual_account": lab, "days": 3, "max_uses": null, "networks": ["192.0.2.0/24"] })),
        ("updateInstance", json!({ "priority": 9, "note": "rack" })),
        ("transferInstance", json!({ "to": lab })),
        ("prepareRehost", json!({ "prepare": true })),
        ("allowMachine", json!({ "fingerprint": format!("machine-{}", agent.udi.serial()), "allow": true })),
        ("runReport", json!({ "kind": "consumption" })),
        ("acknowledgeAlert", json!({ "alert": alert })),
        ("login", json!({ "name": "ann", "password": "correct horse battery" })),
        ("createUser", json!({ "name": "bob", "role": "viewer", "password": "correct horse battery" })),
        ("updateUser", json!({ "role": "operator" })),
        ("setPassword", json!({ "password": "correct horse battery 2" })),
        ("createApiKey", json!({ "name": "x", "role": "viewer", "days": 1 })),
    ];
    let mut done = 0;
    let mut asked = 0;
    // What takes away comes last.
    let mut operations: Vec<(String, String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            operations.push((method.clone(), path.clone(), id));
        }
    }
    let last = ["removeToken", "forgetInstance"];
    operations.sort_by_key(|(method, _, id)| (method == "delete") || last.contains(&id.as_str()));
    for (method, path, id) in &operations {
        if path.starts_with("/v1/agent/") {
            continue;
        }
        asked += 1;
        let mut target = path.clone();
        for (name, value) in &known {
            target = target.replace(name, value);
        }
        let body = bodies.iter().find(|(name, _)| name == id).map_or_else(String::new, |(_, body)| body.to_string());
        let status = ask(&manager, &document, method, path, &target, &owner, &body);
        done += usize::from(status < 300);
        if status >= 300 {
            eprintln!("{id}: {status}");
        }
        // With nonsense.
        for query in ["?nonsense=1", "?limit=0", "?limit=x&cursor=%00"] {
            ask(&manager, &document, method, path, &format!("{}{query}", path.replace(['{', '}'], "")), &owner, "");
        }
        for nonsense in ["{", "[]", "{\"nonsense\":1}", "null"] {
            if method != "get" {
                ask(&manager, &document, method, path, &path.replace(['{', '}'], ""), &owner, nonsense);
            }
        }
    }
    // Those that can't succeed here: what is revoked or removed isn't there, or is in use, or must be confirmed.
    assert!(asked >= 55 && done + 8 >= asked, "{done} of {asked} did what they are for");
}

#[test]
fn a_browser_or_script_reaches_it_over_https_and_the_command_line_too() {
    let manager = Manager::start();
    let data = manager.data_dir();
    for name in ["manager.sock", "ca.pem", "pki/root.key", "pki/tls.key", "manager.db"] {
        let mode = std::fs::metadata(data.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let key = manager.owner_key();
    let file = manager.path("key");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let url = format!("https://localhost:{}", manager.address.port());
    let ca = data.join("ca.pem");
    let way = ["--url", &url, "--ca", ca.to_str().unwrap(), "--api-key-file", file.to_str().unwrap()];
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["manager", "status"])
        .args(way)
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && told.contains("Signs with"), "{told}");
    // Without its authority nobody trusts it.
    let other = ["--url", &url, "--api-key-file", file.to_str().unwrap()];
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["manager", "status"])
        .args(other)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    // What is no terminal is kept: the log says how to make a key, and holds none.
    assert!(manager.log().contains("manager key create"), "{}", manager.log());
    let mut manager = manager;
    manager.restart();
    assert!(!manager.log().contains("cgk_"), "{}", manager.log());
    assert!(!manager.log().contains(&key));
}

#[test]
fn a_second_manager_on_the_directory_is_refused_and_one_that_is_gone_is_named() {
    let mut manager = Manager::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["manager", "serve", "--config"])
        .arg(manager.config())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another callgate"), "{second:?}");
    manager.stop();
    let gone = manager.cli(&["token", "list"]);
    assert_eq!(gone.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("manager.sock"), "{gone:?}");
}

#[test]
fn a_backup_brings_back_what_was_and_grants_go_on_above_all_that_were_given() {
    let mut manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    agent.entitle(&manager, &keys, 10);
    let made: Value = serde_json::from_str(&manager.says(&["backup", "--format", "json"])).unwrap();
    // Later than the backup: lost by it, and never given again.
    let later = agent.entitle(&manager, &keys, 15).grant.seq;
    manager.stop();
    let refused = manager.cli(&["restore", made["file"].as_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "the database is not empty: {refused:?}");
    manager.says(&["restore", "--yes", made["file"].as_str().unwrap()]);
    manager.restart_after_stop();
    let grant = agent.entitle(&manager, &keys, 15).grant;
    assert!(grant.seq > later + (1 << 31), "{} after {later}", grant.seq);
    assert_eq!(manager.ask("GET", "/v1/account", Some(&manager.owner_key()), "").json()["restores"], 1);
}

#[test]
fn a_database_without_its_signing_keys_is_not_served_unless_a_new_root_is_accepted() {
    let mut manager = Manager::start();
    Agent::new(1).register(&manager, &manager.token(&[]));
    manager.stop();
    let (pki, aside) = (manager.data_dir().join("pki"), manager.path("aside"));
    std::fs::rename(&pki, &aside).unwrap();
    let serve = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.args(["manager", "serve", "--config"]).arg(manager.config()).args(words).output().unwrap()
    };
    let refused = serve(&[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("--accept-new-root") && told.contains("pki"), "{told}");
    assert!(!pki.join("root.key").exists(), "no keys were made");
    // Another manager's keys are not these.
    let mut other = Manager::start();
    other.stop();
    std::fs::remove_dir_all(&pki).unwrap();
    std::fs::rename(other.data_dir().join("pki"), &pki).unwrap();
    let refused = serve(&[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the root here is"), "{refused:?}");
    // Its own are.
    std::fs::remove_dir_all(&pki).unwrap();
    std::fs::rename(&aside, &pki).unwrap();
    manager.restart_after_stop();
}

#[test]
fn what_the_database_cannot_hold_is_refused_by_name() {
    let manager = Manager::start();
    let key = manager.owner_key();
    for path in [
        "/v1/audit?cursor=9223372036854775808",
        "/v1/usage?from=9223372036854775808",
        "/v1/reports/a%00b",
        "/v1/usage?tag=%00",
    ] {
        let answer = manager.ask("GET", path, Some(&key), "");
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.json()["accepted"].is_string(), "{path}: {answer:?}");
    }
}

#[test]
fn policy_tags_and_users_are_changed_from_the_command_line_and_logins_are_in_the_audit_log() {
    let manager = Manager::start();
    assert!(manager.says(&["policy", "set", "--ooc-scope", "priority", "--overage", "10"]).contains("priority"));
    assert!(
        manager
            .says(&["policy", "set", "--tolerance-minutes", "5"])
            .contains("up to 10 % of what was bought, told after 5 min")
    );
    manager.says(&["tag", "define", "premium", "--family", "sessions", "--level", "2"]);
    assert!(manager.says(&["tag", "list"]).contains("sessions 2"));
    manager.says(&["tag", "remove", "premium"]);
    manager.says(&["pool", "add", "cps", "5", "--account", "default"]);
    let file = manager.path("password");
    std::fs::write(&file, "correct horse battery\n").unwrap();
    let file = file.to_str().unwrap();
    manager.says(&["user", "create", "ann", "--role", "viewer", "--password-file", file]);
    let login = r#"{"name":"ann","password":"correct horse battery"}"#;
    assert_eq!(manager.ask("POST", "/v1/sessions", None, login).status, 201);
    assert!(manager.says(&["audit", "export"]).contains("\"action\":\"login\""));
    manager.says(&["user", "disable", "ann"]);
    assert_eq!(manager.ask("POST", "/v1/sessions", None, login).status, 401);
    // The log is written behind the answer.
    assert!(within(PATIENCE, || manager.log().contains("a login failed")), "{}", manager.log());
    manager.says(&["user", "remove", "ann"]);
    for kind in ["transfers", "alerts", "usage"] {
        manager.says(&["history", kind]);
    }
    let before: Value = serde_json::from_str(&manager.says(&["key", "signing", "--format", "json"])).unwrap();
    manager.says(&["key", "revoke", before["active"].as_str().unwrap()]);
    let after: Value = serde_json::from_str(&manager.says(&["key", "signing", "--format", "json"])).unwrap();
    assert_ne!(before["active"], after["active"]);
}

#[test]
fn purchases_and_tokens_hint_at_what_no_shipped_profile_knows_and_a_purchase_is_taken_back_knowingly() {
    let manager = Manager::start();
    assert!(!manager.says(&["pool", "add", "open.cps", "20"]).contains("Hint"));
    let added = manager.says(&["pool", "add", "open.csp", "5"]);
    assert!(added.starts_with("Added:") && added.contains("Was open.cps meant?"), "{added}");
    assert!(!manager.says(&["pool", "add", "open.csp", "5"]).contains("Hint"), "it is known from now on");
    let created = manager.cli(&["token", "create", "--product", "nosuch"]);
    assert!(created.status.success() && String::from_utf8_lossy(&created.stderr).contains("is called nosuch"));

    // A token is good as its product's profile says, unless somebody decided otherwise.
    let days = |words: &[&str]| -> u64 {
        let made = manager.says(&[&["token", "create", "--format", "json"], words].concat());
        let made: Value = serde_json::from_str(&made).unwrap();
        (made["expires_at"].as_u64().unwrap() - made["created_at"].as_u64().unwrap()) / 86_400_000
    };
    assert_eq!((days(&["--product", "ncs540"]), days(&["--product", "cusp"]), days(&[])), (290, 30, 30));
    assert_eq!(days(&["--product", "ncs540", "--days", "2"]), 2);
    manager.says(&["policy", "set", "--token-days", "7"]);
    assert_eq!((days(&["--product", "ncs540"]), days(&[])), (7, 7));

    let lots: Value = serde_json::from_str(&manager.says(&["pool", "lots", "--format", "json"])).unwrap();
    let lot = lots["items"][0]["id"].as_str().unwrap();
    let asked = manager.cli(&["pool", "remove", lot]);
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(!asked.status.success() && told.contains("Effect") && told.contains("Take it back?"), "{told}");
    let refused = manager.cli(&["pool", "remove", lot, "--format", "json"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--yes"), "{refused:?}");
    let lots_before = manager.says(&["pool", "lots"]).lines().count();
    assert!(manager.says(&["pool", "remove", lot, "--yes"]).ends_with("Taken back.\n"));
    assert_eq!(manager.says(&["pool", "lots"]).lines().count(), lots_before - 1);
    assert!(!manager.cli(&["pool", "remove", lot, "--yes"]).status.success(), "it is gone");
}

/// The members that a refusal of an unknown one names as accepted.
fn accepted(detail: &str) -> Option<Vec<String>> {
    let (_, after) = detail.split_once("unknown field `no such member`")?;
    let mut names: Vec<String> = after.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    Some(names)
}

#[test]
fn every_body_takes_what_the_document_says_and_nothing_else() {
    let manager = Manager::start();
    let owner = manager.owner_key();
    let document = manager.ask("GET", "/openapi.json", Some(&owner), "").json();
    manager.says(&["pool", "add", "cps", "5"]);
    let mut agent = Agent::new(1);
    agent.register(&manager, &manager.token(&[]));
    std::fs::write(manager.path("password"), "correct horse battery\n").unwrap();
    let password = manager.path("password");
    manager.says(&["user", "create", "ann", "--role", "viewer", "--password-file", password.to_str().unwrap()]);
    let login = json!({ "name": "ann", "password": "correct horse battery" }).to_string();
    let session = manager.ask("POST", "/v1/sessions", None, &login).json()["secret"].as_str().unwrap().to_owned();
    let first =
        |path: &str| manager.ask("GET", path, Some(&owner), "").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let known = [
        ("{virtual_account}", first("/v1/virtual-accounts")),
        ("{lot}", first("/v1/lots")),
        ("{instance}", first("/v1/instances")),
        ("{user}", first("/v1/users")),
    ];
    let body = json!({ "no such member": 1 }).to_string();
    let mut held = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if path.starts_with("/v1/agent/") || !schema.is_object() {
                continue;
            }
            let target = known.iter().fold(path.clone(), |target, (name, value)| target.replace(name, value));
            // A user's own password is changed by a user.
            let key = if path.ends_with("/users/current/password") { &session } else { &owner };
            let answer = manager.ask(&method.to_uppercase(), &target, Some(key), &body);
            assert_eq!(answer.status, 400, "{method} {target}: {answer:?}");
            let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
            let found = accepted(&detail).unwrap_or_else(|| panic!("{method} {target}: {detail}"));
            let pointer = schema["$ref"].as_str().unwrap().trim_start_matches('#');
            let members = document.pointer(pointer).unwrap()["properties"].as_object().unwrap();
            let mut documented: Vec<String> = members.keys().cloned().collect();
            documented.sort();
            assert_eq!(documented, found, "{method} {path}: what {pointer} documents, and what is accepted");
            held += 1;
        }
    }
    assert!(held >= 17, "{held} bodies were held against the document");
}

#[test]
fn guessed_keys_are_limited_by_address_and_good_ones_never() {
    let manager = Manager::with("[limits]\nlogins_per_minute = 5\n");
    let owner = manager.owner_key();
    let guess = |n: u32| manager.ask("GET", "/v1/account", Some(&format!("cgk_guess{n}")), "");
    let limited = (0..10).map(guess).find(|answer| answer.status == 429).expect("a limit");
    assert!(limited.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| wait >= 1)));
    // From the same address, and however often.
    for _ in 0..20 {
        assert_eq!(manager.ask("GET", "/v1/account", Some(&owner), "").status, 200);
    }
    assert_eq!(guess(99).status, 429, "a good key in between resets nothing");
}

#[test]
fn a_rotation_that_lacks_the_roots_key_is_told_until_it_happened() {
    let mut manager = Manager::start();
    manager.stop();
    let pki = manager.data_dir().join("pki");
    std::fs::remove_dir_all(&pki).unwrap();
    // Keys of 300 days ago: another one is due since eight days. The root's key is in a safe.
    let then = UnixMillis(now().0 - 300 * 86_400_000);
    drop(SigningKeys::open(&pki, then).unwrap());
    let safe = manager.path("root.key.in.a.safe");
    std::fs::rename(pki.join("root.key"), &safe).unwrap();
    manager.restart_after_stop();
    let alerts = || manager.says(&["alert", "list", "--format", "json"]);
    assert!(within(PATIENCE, || alerts().contains("signing_key_rotation_due")), "{}", alerts());
    let status = manager.says(&["status"]);
    let line = status.lines().find(|line| line.starts_with("Rotation")).unwrap_or_else(|| panic!("{status}"));
    assert!(line.contains("DUE, before 20") && line.contains("put the root's key back"), "{line}");
    std::fs::rename(&safe, pki.join("root.key")).unwrap();
    manager.says(&["key", "rotate"]);
    assert!(!alerts().contains("signing_key_rotation_due"), "{}", alerts());
    let status = manager.says(&["status"]);
    assert!(status.contains("happens by itself"), "{status}");
}
