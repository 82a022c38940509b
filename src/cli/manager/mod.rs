//! `callgate manager`: operator commands for the license manager.
//!
//! Each asks the manager over its API, as any script may; nothing here reaches into it, but `config` and `restore`, which
//! work without a running one.

mod args;
mod client;
mod further;
mod hints;
mod people;
mod people_args;
mod policy;
mod pools;
mod show;

use std::io::{BufRead, Write};
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

pub use args::{
    AccountCommand, AlertCommand, InstanceCommand, Listed, ManagerCommand, ManagerConfigArgs, ManagerConfigCommand,
    ManagerServeArgs, PoolCommand, Reach, ReportCommand, ReportKindArg, TokenCommand,
};
pub use people_args::{AuditCommand, KeyCommand, RoleArg, UserCommand};

pub use further::{HistoryCommand, MachineCommand, OverageArgs, PolicyArgs, PolicyCommand, TagCommand};

use self::client::{ManagerClient, encoded};
use super::args::Format;
use super::failure::Failure;
use super::text::printable;
use crate::manager::serve::{database_url, default_file};
use crate::shell::clock::Clock;
use crate::shell::config::Inputs;
use crate::units::UnixMillis;

const DAY_MS: u64 = 86_400_000;

/// What a command works with.
struct Work<'a, I, O> {
    inputs: &'a Inputs,
    format: Format,
    now: UnixMillis,
    input: &'a mut I,
    out: &'a mut O,
}

/// Runs every command but `serve`.
///
/// # Errors
/// If the command was refused or failed.
pub(super) fn run(
    command: ManagerCommand,
    inputs: &Inputs,
    format: Format,
    now: UnixMillis,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut work = Work { inputs, format, now, input, out };
    match command {
        ManagerCommand::Serve(_) => {
            Err(Failure::Refused("`manager serve` is not a command for a running manager".to_owned()))
        }
        ManagerCommand::Config(ManagerConfigCommand::Default) => match format {
            Format::Text => Ok(write!(work.out, "{}", default_file())?),
            Format::Json => Ok(writeln!(work.out, "{}", json!({ "file": default_file() }))?),
        },
        ManagerCommand::Config(ManagerConfigCommand::Check(args)) => work.check(&args),
        ManagerCommand::Status(reach) => {
            let status = work.connect(&reach)?.get("/v1/status")?;
            work.say(&status, show::status)
        }
        ManagerCommand::Token(command) => work.token(command),
        ManagerCommand::Account(command) => work.account(command),
        ManagerCommand::Pool(command) => work.pool(command),
        ManagerCommand::Instance(command) => work.instance(command),
        ManagerCommand::Report(command) => work.report(command),
        ManagerCommand::Alert(command) => work.alert(command),
        ManagerCommand::User(command) => work.user(command),
        ManagerCommand::Key(command) => work.key(command),
        ManagerCommand::Policy(command) => work.policy(command),
        ManagerCommand::Tag(command) => work.tag(command),
        ManagerCommand::Machine(command) => work.machine(command),
        ManagerCommand::History(command) => work.history(command),
        ManagerCommand::Audit(command) => work.audit(command),
        ManagerCommand::Backup(reach) => {
            let made = work.connect(&reach)?.post("/v1/backups", None)?;
            work.say(&made, |made, _| {
                format!(
                    "Backup written: {} ({} rows)\nKeys are not in it: keep a copy of the manager's directory pki in another place.\n",
                    show::text(made, "file"),
                    show::number(made, "rows")
                )
            })
        }
        ManagerCommand::Restore { config, yes, file } => work.restore(&config, yes, &file),
    }
}

impl<I: BufRead, O: Write> Work<'_, I, O> {
    fn connect(&self, reach: &Reach) -> Result<ManagerClient, Failure> {
        ManagerClient::connect(reach, self.inputs)
    }

    /// The answer: as it is, or for people.
    fn say(&mut self, answer: &Value, people: impl FnOnce(&Value, UnixMillis) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => Ok(writeln!(self.out, "{answer}")?),
            Format::Text => Ok(write!(self.out, "{}", people(answer, self.now))?),
        }
    }

    /// A list of the manager's.
    fn list(
        &mut self,
        client: &ManagerClient,
        path: &str,
        people: impl FnOnce(&[Value], UnixMillis) -> String,
    ) -> Result<(), Failure> {
        let items = client.list(path)?;
        match self.format {
            Format::Json => Ok(writeln!(self.out, "{}", json!({ "items": items }))?),
            Format::Text => Ok(write!(self.out, "{}", people(&items, self.now))?),
        }
    }

    fn check(&mut self, args: &ManagerConfigArgs) -> Result<(), Failure> {
        let config = args.loader().load(self.inputs)?;
        let answer = json!({ "ok": true, "data_dir": config.data_dir, "listen": config.listen.to_string() });
        self.say(&answer, |_, _| format!("OK: listens on {}, state in {}\n", config.listen, config.data_dir.display()))
    }

    fn restore(&mut self, args: &ManagerConfigArgs, yes: bool, file: &std::path::Path) -> Result<(), Failure> {
        let config = args.loader().load(self.inputs)?;
        let refused = |error: &dyn std::error::Error| Failure::Refused(error.to_string());
        let url = database_url(&config).map_err(|error| refused(&error))?;
        let target = format!("{url} (data_dir {})", config.data_dir.display());
        if args.config.is_none() && args.data_dir.is_none() {
            return Err(Failure::Refused(format!(
                "nothing was restored: say into which manager, with --config FILE or --data-dir DIR. Without either it would be {target}"
            )));
        }
        if let Ok(found) = std::fs::metadata(&config.data_dir) {
            let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
            if owner != user {
                return Err(Failure::Refused(format!(
                    "nothing was restored: {} belongs to user {owner}, and this is user {user}; what is written must be the manager's: run it as that user",
                    config.data_dir.display()
                )));
            }
        }
        if self.format == Format::Text {
            writeln!(self.out, "Restoring {} into {target}", file.display())?;
            self.out.flush()?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let restored = crate::manager::store::restore(url, file, yes, Clock.wall());
        let summary = runtime.block_on(restored).map_err(|error| refused(&error))?;
        let mut answer = serde_json::to_value(&summary).unwrap_or_default();
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("target".to_owned(), target.into());
        }
        self.say(&answer, |_, _| {
            format!(
                "Restored from {}: {} rows.\nAt its next start the manager lets every number of a grant jump ahead, so that none comes twice.\n",
                file.display(),
                summary.rows.iter().map(|(_, rows)| rows).sum::<u64>()
            )
        })
    }

    /// Asks; without anybody to answer, that is no.
    fn consent(&mut self, question: &str) -> Result<bool, Failure> {
        write!(self.out, "{question} [y/N] ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn instance(&mut self, command: InstanceCommand) -> Result<(), Failure> {
        match command {
            InstanceCommand::List { listed, all, search } => {
                let client = self.connect(&listed.reach)?;
                let names = show::names(&client.list("/v1/virtual-accounts")?);
                let mut path = with_account(&client, &format!("/v1/instances?all={all}"), &listed)?;
                if let Some(search) = search {
                    path.push_str(&format!("&search={}", encoded(&search)));
                }
                self.list(&client, &path, |instances, now| show::instances(instances, &names, now))
            }
            InstanceCommand::Show { reach, instance } => {
                let client = self.connect(&reach)?;
                let found = client.get(&instance_path(&instance))?;
                self.say(&found, show::instance)
            }
            InstanceCommand::Remove { reach, yes, instance } => self.remove(&reach, yes, &instance),
            InstanceCommand::Transfer { reach, instance, to } => {
                let client = self.connect(&reach)?;
                let body = json!({ "to": account_id(&client, &to)? });
                let moved = client.post(&format!("{}/transfer", instance_path(&instance)), Some(&body))?;
                self.say(&moved, show::instance)
            }
            InstanceCommand::Priority { reach, instance, priority } => {
                let changed =
                    self.connect(&reach)?.patch(&instance_path(&instance), &json!({ "priority": priority }))?;
                self.say(&changed, show::instance)
            }
            InstanceCommand::Note { reach, instance, note } => {
                let changed = self.connect(&reach)?.patch(&instance_path(&instance), &json!({ "note": note }))?;
                self.say(&changed, show::instance)
            }
            InstanceCommand::Forget { reach, instance } => {
                let done = self.connect(&reach)?.post(&format!("{}/forget", instance_path(&instance)), None)?;
                self.say(&done, |_, _| "Forgotten.\n".to_owned())
            }
            InstanceCommand::Rehost { reach, instance, cancel } => {
                let path = format!("{}/rehost", instance_path(&instance));
                let changed = self.connect(&reach)?.post(&path, Some(&json!({ "prepare": !cancel })))?;
                self.say(&changed, show::instance)
            }
        }
    }

    fn remove(&mut self, reach: &Reach, yes: bool, instance: &str) -> Result<(), Failure> {
        let client = self.connect(reach)?;
        let path = instance_path(instance);
        let preview = client.get(&format!("{path}/removal"))?;
        if self.format == Format::Text {
            write!(self.out, "{}", show::removal(&preview))?;
        }
        if !yes {
            if self.format == Format::Json {
                return Err(Failure::Refused(format!(
                    "nothing was removed: this must be confirmed with --yes. {}",
                    printable(show::text(&preview, "effect"))
                )));
            }
            if !self.consent("Remove it?")? {
                return Err(Failure::Refused("nothing was removed".to_owned()));
            }
        }
        let confirm = encoded(show::text(&preview, "confirm"));
        let removed = client.delete(&format!("{path}?confirm={confirm}"))?;
        self.say(&removed, |_, _| "Removed.\n".to_owned())
    }

    fn report(&mut self, command: ReportCommand) -> Result<(), Failure> {
        match command {
            ReportCommand::Run { listed, kind } => {
                let client = self.connect(&listed.reach)?;
                let account = listed.account.as_ref().map(|account| account_id(&client, account)).transpose()?;
                let body = json!({ "kind": kind.name(), "virtual_account": account });
                let report = client.post("/v1/reports", Some(&body))?;
                self.say(&report, show::report)
            }
            ReportCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/reports", show::reports)
            }
            ReportCommand::Show { reach, report } => {
                let report = self.connect(&reach)?.get(&format!("/v1/reports/{}", encoded(&report)))?;
                self.say(&report, show::report)
            }
        }
    }

    fn alert(&mut self, command: AlertCommand) -> Result<(), Failure> {
        match command {
            AlertCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/alerts", show::alerts)
            }
            AlertCommand::Test { reach, destination } => {
                let client = self.connect(&reach)?;
                let query: String = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(destination.iter().map(|name| ("destination", name)))
                    .finish();
                let query = if query.is_empty() { query } else { format!("?{query}") };
                let answer = client.post(&format!("/v1/alerts/test{query}"), None)?;
                crate::cli::reports::tested(&answer, self.format, &mut self.out)
            }
            AlertCommand::Ack { reach, alert } => {
                let client = self.connect(&reach)?;
                let alert = client.post("/v1/alerts/acknowledge", Some(&json!({ "alert": alert })))?;
                self.say(&alert, |alert, now| show::alerts(std::slice::from_ref(alert), now))
            }
        }
    }

    fn audit(&mut self, command: AuditCommand) -> Result<(), Failure> {
        match command {
            AuditCommand::Verify(reach) => {
                let verified = self.connect(&reach)?.post("/v1/audit/verify", None)?;
                self.say(&verified, show::audit_verified)?;
                if verified.get("whole").and_then(Value::as_bool) == Some(true) {
                    return Ok(());
                }
                Err(Failure::Refused("the audit log is not whole".to_owned()))
            }
            AuditCommand::Export(reach) => {
                let client = self.connect(&reach)?;
                client.pages("/v1/audit", |entries| {
                    for entry in entries {
                        writeln!(self.out, "{entry}")?;
                    }
                    Ok(())
                })
            }
        }
    }
}

/// A virtual account's id, by its id or name.
fn account_id(client: &ManagerClient, id_or_name: &str) -> Result<String, Failure> {
    let all = client.list("/v1/virtual-accounts")?;
    let named = |account: &&Value| show::text(account, "id") == id_or_name || show::text(account, "name") == id_or_name;
    let folded = id_or_name.to_lowercase();
    let mut alike = all.iter().filter(|account| show::text(account, "name").to_lowercase() == folded);
    let only = alike.next().filter(|_| alike.next().is_none());
    let found = all.iter().find(named).or(only).map(|account| show::text(account, "id").to_owned());
    found.ok_or_else(|| {
        let names: Vec<String> = all.iter().take(20).map(|account| printable(show::text(account, "name"))).collect();
        Failure::Refused(format!("there is no virtual account {id_or_name:?}; there are: {}", names.join(", ")))
    })
}

fn with_account(client: &ManagerClient, path: &str, listed: &Listed) -> Result<String, Failure> {
    let Some(account) = &listed.account else { return Ok(path.to_owned()) };
    let join = if path.contains('?') { '&' } else { '?' };
    Ok(format!("{path}{join}virtual_account={}", encoded(&account_id(client, account)?)))
}

fn instance_path(instance: &str) -> String {
    format!("/v1/instances/{}", encoded(instance))
}
