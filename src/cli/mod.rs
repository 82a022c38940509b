//! Operator commands: arguments, the client of the admin socket, what people read.
//!
//! `main` parses the arguments and calls [`run`] for every command but `serve` and `demo`. Commands that ask a running sidecar do so
//! over its admin socket and hold nothing of its inside. Whatever comes from there is made printable before it is shown.

mod args;
mod calls;
mod client;
mod cluster;
mod configuration;
mod failure;
mod generate;
mod license;
mod manager;
mod reports;
mod text;

use std::io::{BufRead, Write};

use serde_json::{Value, json};

pub use args::{
    AdminArgs, AlarmsArgs, AlarmsCommand, CallsCommand, Cli, Command, ConfigArgs, ConfigCommand, DemoArgs, Format,
    ListArgs, PhaseArg,
};
pub use client::{Candidates, Client};
pub use cluster::{CaCommand, ClusterCommand};
pub use failure::Failure;
pub use license::page_text;
pub use license::{ConsentArgs, Keep, LicenseCommand, Renewal, UsageCommand};
pub use manager::{
    AccountCommand, AlertCommand, AuditCommand, HistoryCommand, InstanceCommand, KeyCommand, Listed, MachineCommand,
    ManagerCommand, ManagerConfigArgs, ManagerConfigCommand, ManagerServeArgs, OverageArgs, PolicyArgs, PolicyCommand,
    PoolCommand, Reach, ReportCommand, ReportKindArg, RoleArg, TagCommand, TokenCommand, UserCommand,
};

use self::calls::Consent;
use self::license::Around;
use crate::shell::config::Inputs;
use crate::units::UnixMillis;

/// What a command works with beside its arguments.
#[derive(Debug)]
pub struct Surroundings<I, O> {
    /// The environment and the host's name.
    pub inputs: Inputs,
    /// The wall time, for ages.
    pub now: UnixMillis,
    /// Where answers to questions come from.
    pub input: I,
    /// Where results go.
    pub output: O,
}

/// Runs every command but `serve` and `demo`.
///
/// # Errors
/// If the command was refused or failed, with the exit code that says how.
pub fn run(
    command: Command,
    format: Format,
    surroundings: Surroundings<impl BufRead, impl Write>,
) -> Result<(), Failure> {
    let Surroundings { inputs, now, mut input, mut output } = surroundings;
    let out = &mut output;
    match command {
        Command::Serve(_) => Err(Failure::Refused("`serve` is not a command for a running sidecar".to_owned())),
        Command::Demo(_) => Err(Failure::Refused("`demo` is not a command for a running sidecar".to_owned())),
        Command::Config(ConfigCommand::Check(args)) => configuration::check(&args.loader(inputs), format, out),
        Command::Config(ConfigCommand::Show(args)) => configuration::show(&args.loader(inputs), format, out),
        Command::Config(ConfigCommand::Default) => configuration::default(format, out),
        Command::Manager(command) => manager::run(command, &inputs, format, now, &mut input, out),
        Command::Completions { shell } => generate::completions(shell, format, out),
        Command::Man { directory } => generate::man(&directory, format, out),
        Command::Status(admin) => {
            let status = connect(&admin, inputs)?.get("/v1/status")?;
            told(format, &status, out, |status, out| reports::status(status, out))
        }
        Command::Alarms(AlarmsArgs { command: Some(AlarmsCommand::Xsd), .. }) => {
            Ok(write!(out, "{}", crate::notice::XSD)?)
        }
        Command::Alarms(AlarmsArgs { command: Some(AlarmsCommand::Test { admin, destination }), .. }) => {
            let query: String = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(destination.iter().map(|name| ("destination", name)))
                .finish();
            let answer = connect(&admin, inputs)?.post(&format!("/v1/admin/alarms/test?{query}"), &json!({}))?;
            reports::tested(&answer, format, out)
        }
        Command::Alarms(AlarmsArgs { command: None, admin, history }) => {
            let path = if history { "/v1/alarms?history=true" } else { "/v1/alarms" };
            let alarms = connect(&admin, inputs)?.get(path)?;
            told(format, &alarms, out, |alarms, out| reports::alarms(alarms, history, now, out))
        }
        Command::License(command) => license::run(command, format, Around { inputs, input: &mut input, out }),
        Command::Cluster(command) => cluster::run(command, inputs, format, now, &mut input, out),
        Command::Calls(CallsCommand::List(args)) => {
            let client = connect(&args.admin, inputs)?;
            calls::list(&client, &args)?.print(format, now, out)
        }
        Command::Calls(CallsCommand::Show { admin, call }) => {
            let found = calls::find(&connect(&admin, inputs)?, &call)?;
            calls::print_one(&found, format, now, out)
        }
        Command::Calls(CallsCommand::Release { admin, yes, call }) => {
            let client = connect(&admin, inputs)?;
            calls::release(&client, &call, &Consent::of(yes), format, now, &mut input, out)
        }
        Command::Drain(admin) => {
            let answer = connect(&admin, inputs)?.post("/v1/admin/drain", &json!({}))?;
            told(format, &answer, out, |_, out| {
                Ok(writeln!(out, "Draining: new calls are refused, live calls go on. `callgate undrain` ends it.")?)
            })
        }
        Command::Undrain(admin) => {
            let answer = connect(&admin, inputs)?.post("/v1/admin/undrain", &json!({}))?;
            told(format, &answer, out, |_, out| Ok(writeln!(out, "Not draining: new calls are decided again.")?))
        }
        Command::Reload(admin) => {
            let answer = connect(&admin, inputs)?.post("/v1/admin/reload", &json!({}))?;
            told(format, &answer, out, reloaded)
        }
    }
}

fn connect(admin: &AdminArgs, inputs: Inputs) -> Result<Client, Failure> {
    let candidates = Candidates::find(admin, inputs)?;
    if let Some(warning) = candidates.warning() {
        // Beside the result, whatever its format. Where stderr is closed, nobody can be told.
        let _ = writeln!(std::io::stderr().lock(), "callgate: warning: {warning}");
    }
    Client::connect(&candidates)
}

/// The sidecar's answer: as it is, or for people.
fn told<O: Write>(
    format: Format,
    answer: &Value,
    out: &mut O,
    people: impl FnOnce(&Value, &mut O) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match format {
        Format::Json => Ok(writeln!(out, "{answer}")?),
        Format::Text => people(answer, out),
    }
}

fn reloaded(answer: &Value, out: &mut impl Write) -> Result<(), Failure> {
    let changed = answer.get("changed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let changed: Vec<String> = changed.iter().filter_map(Value::as_str).map(text::printable).collect();
    if changed.is_empty() {
        writeln!(out, "Nothing changed.")?;
    } else {
        writeln!(out, "In force: {}", changed.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
