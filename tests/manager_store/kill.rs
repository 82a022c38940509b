//! A manager killed at any moment: everything that it acknowledged is there, and nothing is there by half.
//!
//! A child process runs the loop and says on its standard output which requests were answered. The parent kills it after
//! a number of them that differs each time, opens the database, and compares. The next child goes on with the same one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use callgate::manager::domain::Record;
use callgate::manager::service::{Service, ServiceConfig};
use callgate::manager::store::DatabaseUrl;

use super::data::{entropy, put, setting};
use super::{Db, NOW};

const URL_VARIABLE: &str = "CALLGATE_TEST_MANAGER_DATABASE";
const ROUND_VARIABLE: &str = "CALLGATE_TEST_ROUND";
const CLIENTS: u64 = 16;

#[tokio::test]
#[ignore = "the child of the next tests"]
async fn child_that_answers_until_it_is_killed() {
    let Ok(url) = std::env::var(URL_VARIABLE) else { return };
    let round: u64 = std::env::var(ROUND_VARIABLE).expect("a round").parse().expect("a number");
    let url: DatabaseUrl = url.parse().expect("an address");
    let store = super::opened(&url).await;
    let (service, _task) = Service::start(store, ServiceConfig::default(), Arc::new(|| NOW), entropy(2)).await.unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let service = service.clone();
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let name = format!("{round}-{client}-{number}");
                    // Two records that belong together.
                    let changes =
                        put([setting(format!("a-{name}"), "x".repeat(200)), setting(format!("b-{name}"), "y")]);
                    service.write(move |_, _, _| ((), changes.clone())).await.expect("it is written");
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nanswered {name}").and_then(|()| out.flush()).expect("the parent reads");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("it never ends");
    }
}

async fn rounds(db: &Db, rounds: u64) {
    let mut answered = BTreeSet::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "manager_store::kill::child_that_answers_until_it_is_killed", "--ignored", "--nocapture"])
            .env(URL_VARIABLE, &db.url)
            .env(ROUND_VARIABLE, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let wanted = 1 + round * 37 % 150;
        let mut seen = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if out.read_line(&mut line).expect("its output") == 0 {
                break;
            }
            if let Some(name) = line.trim_end().strip_prefix("answered ").filter(|_| line.ends_with('\n')) {
                answered.insert(name.to_owned());
                seen += 1;
                if seen == wanted {
                    child.kill().expect("it can be killed");
                }
            }
        }
        child.wait().expect("it ended");
        assert!(seen >= wanted, "round {round}: the child ended by itself after {seen} answers");

        let mut store = super::opened(&db.url()).await;
        let names: BTreeSet<String> = store
            .load()
            .await
            .expect("it loads")
            .records
            .into_iter()
            .filter_map(|record| if let Record::Setting(found) = record { Some(found.name) } else { None })
            .collect();
        for name in &answered {
            assert!(names.contains(&format!("a-{name}")), "round {round}: {name} was acknowledged and is gone");
        }
        for name in &names {
            let (half, rest) = name.split_at(2);
            let other = if half == "a-" { format!("b-{rest}") } else { format!("a-{rest}") };
            assert!(names.contains(&other), "round {round}: {name} is there without {other}");
        }
        store.close().await;
    }
    assert!(answered.len() > 100, "{} answers in all", answered.len());
}

#[tokio::test]
async fn every_acknowledged_change_is_in_sqlite_after_a_kill_at_any_moment() {
    let db = Db::sqlite();
    rounds(&db, 12).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn every_acknowledged_change_is_in_postgres_after_a_kill_at_any_moment() {
    let db = Db::postgres().await;
    rounds(&db, 12).await;
    db.done().await;
}
