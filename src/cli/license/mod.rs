//! `callgate license`: pages of a running sidecar as text, and commands to it.
//!
//! What is asked, over the admin socket (answers are JSON; a refusal is a problem document with its reason):
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/license?page=NAME[&days=N]` | | a page of [`crate::license::view`] |
//! | `POST /v1/admin/license/{enable,disable,cancel,deregister,renew-auth,renew-id,report-now}` | `{}` | [`Answer`] |
//! | `POST /v1/admin/license/test-connection` | `{}` | [`Connection`] |
//! | `POST /v1/admin/license/{count,sessions}` | `{"count":N}`, `{"sessions":N}`; `null` takes it back | [`Answer`] |
//! | `POST /v1/admin/license/register` | `{"token":"…","force":false}` | [`Answer`] |
//! | `POST /v1/admin/license/backup` | `{}` | the backup, a JSON document |
//! | `POST /v1/admin/license/restore` | the backup | [`Answer`] |
//! | `POST /v1/admin/license/factory-reset` | `{"keep_licensing":true}` | [`Answer`] |
//!
//! What can stop calls says first on which host it does so, and when; where nobody can be asked it wants `--yes`.

mod acts;
mod args;
mod files;
mod render;
mod sheet;

use std::io::{BufRead, Write};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use args::{ConsentArgs, Keep, LicenseCommand, Renewal, UsageCommand};

use self::acts::Act;
use super::{Client, Failure, Format, connect};
use crate::license::view;
use crate::shell::config::Inputs;

/// What a command begins or did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// It is still going on.
    pub(super) in_progress: bool,
    /// What happens now.
    pub(super) text: String,
}

/// What became of a test of the way to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connection {
    /// The step that failed; `None`: all is well.
    pub(super) failed: Option<String>,
    /// Each step, in order.
    pub(super) steps: Vec<ConnectionStep>,
}

/// One step of the way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConnectionStep {
    /// Its name.
    pub(super) step: String,
    /// What became of it.
    pub(super) outcome: String,
    /// What was found; if it failed, what is accepted.
    pub(super) text: String,
}

/// What surrounds a command.
#[derive(Debug)]
pub(super) struct Around<'a, I, O> {
    /// The environment.
    pub(super) inputs: Inputs,
    /// Where answers and tokens come from.
    pub(super) input: &'a mut I,
    /// Where results go.
    pub(super) out: &'a mut O,
}

/// A page as its type. What cannot be read comes from another version.
fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::Refused(format!(
            "the sidecar's answer cannot be shown as text: {error}. It may be of another version than this command; --format json shows it as it is."
        ))
    })
}

/// Asks for a page and shows it.
fn page<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    format: Format,
    out: &mut impl Write,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let value = client.get(path)?;
    match format {
        Format::Json => writeln!(out, "{value}")?,
        Format::Text => write!(out, "{}", text(&typed(&value)?))?,
    }
    Ok(())
}

/// What a command that only shows prints, from inside the sidecar: it goes along with alarms. `None`: no such command.
#[must_use]
pub fn page_text(command: &str, input: &view::ViewInput<'_>) -> Option<String> {
    fn page<T: DeserializeOwned>(
        page: view::Page,
        input: &view::ViewInput<'_>,
        text: fn(&T) -> String,
    ) -> Option<String> {
        serde_json::from_value(page.json(input, view::FORECAST_DAYS)).ok().map(|of| text(&of))
    }
    match command {
        "license summary" => page(view::Page::Summary, input, render::summary),
        "license status" => page(view::Page::Status, input, render::status),
        "license all" => page(view::Page::All, input, render::all),
        "license usage" => page(view::Page::Usage, input, render::usage),
        "license forecast" => page(view::Page::Forecast, input, render::forecast),
        _ => None,
    }
}

/// Runs one command.
pub(super) fn run(
    command: LicenseCommand,
    format: Format,
    around: Around<'_, impl BufRead, impl Write>,
) -> Result<(), Failure> {
    let Around { inputs, input, out } = around;
    let path = |page: view::Page| format!("/v1/license?page={}", page.name());
    match command {
        LicenseCommand::Status(admin) => {
            page(&connect(&admin, inputs)?, &path(view::Page::Status), format, out, render::status)
        }
        LicenseCommand::Summary(admin) => {
            page(&connect(&admin, inputs)?, &path(view::Page::Summary), format, out, render::summary)
        }
        LicenseCommand::All(admin) => page(&connect(&admin, inputs)?, &path(view::Page::All), format, out, render::all),
        LicenseCommand::Udi(admin) => page(&connect(&admin, inputs)?, &path(view::Page::Udi), format, out, render::udi),
        LicenseCommand::Usage { admin, command: None } => {
            page(&connect(&admin, inputs)?, &path(view::Page::Usage), format, out, render::usage)
        }
        LicenseCommand::Platform { admin, detail } => {
            page(&connect(&admin, inputs)?, &path(view::Page::Platform), format, out, |of| render::platform(of, detail))
        }
        LicenseCommand::Statistics(admin) => {
            page(&connect(&admin, inputs)?, &path(view::Page::Statistics), format, out, render::statistics)
        }
        LicenseCommand::Forecast { admin, days } => {
            let path = format!("{}&days={days}", path(view::Page::Forecast));
            page(&connect(&admin, inputs)?, &path, format, out, render::forecast)
        }
        LicenseCommand::TechSupport(admin) => {
            page(&connect(&admin, inputs)?, &path(view::Page::TechSupport), format, out, render::tech_support)
        }
        LicenseCommand::Enable(admin) => Act::of(&connect(&admin, inputs)?, format, out).plain("enable", &json!({})),
        LicenseCommand::Count { admin, count, remove: _ } => {
            Act::of(&connect(&admin, inputs)?, format, out).plain("count", &json!({ "count": count }))
        }
        LicenseCommand::Sessions { admin, sessions, remove: _ } => {
            Act::of(&connect(&admin, inputs)?, format, out).plain("sessions", &json!({ "sessions": sessions }))
        }
        LicenseCommand::Cancel(admin) => Act::of(&connect(&admin, inputs)?, format, out).plain("cancel", &json!({})),
        LicenseCommand::Renew { admin, what } => {
            let what = match what {
                Renewal::Auth => "renew-auth",
                Renewal::Id => "renew-id",
            };
            Act::of(&connect(&admin, inputs)?, format, out).plain(what, &json!({}))
        }
        LicenseCommand::Usage { command: Some(UsageCommand::ReportNow(admin)), .. } => {
            Act::of(&connect(&admin, inputs)?, format, out).plain("report-now", &json!({}))
        }
        LicenseCommand::Usage { command: Some(UsageCommand::Export { admin, file }), .. } => {
            Act::of(&connect(&admin, inputs)?, format, out).export(&file)
        }
        LicenseCommand::Register { admin, token_file, force } => {
            // Read before anybody is asked: a typing error is found here.
            let token = files::token(&token_file, input)?;
            let body = json!({ "token": token.reveal(), "force": force });
            Act::of(&connect(&admin, inputs)?, format, out).plain("register", &body)
        }
        LicenseCommand::TestConnection(admin) => Act::of(&connect(&admin, inputs)?, format, out).test_connection(),
        LicenseCommand::Backup { admin, file } => Act::of(&connect(&admin, inputs)?, format, out).backup(&file),
        LicenseCommand::Disable(consent) => {
            Act::of(&connect(&consent.admin, inputs)?, format, out).disable(consent.yes, input)
        }
        LicenseCommand::Deregister(consent) => {
            Act::of(&connect(&consent.admin, inputs)?, format, out).deregister(consent.yes, input)
        }
        LicenseCommand::Restore { consent, file } => {
            let backup = files::backup(&file)?;
            Act::of(&connect(&consent.admin, inputs)?, format, out).restore(&backup, consent.yes, input)
        }
        LicenseCommand::FactoryReset { consent, keep_licensing } => {
            let client = connect(&consent.admin, inputs)?;
            Act::of(&client, format, out).factory_reset(keep_licensing, consent.yes, input)
        }
    }
}

#[cfg(test)]
mod tests;
