//! Commands that change something: what they say before, and what they say after.

use std::io::{BufRead, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Keep;
use super::{Answer, Connection, files, typed};
use crate::cli::calls::Consent;
use crate::cli::text::printable;
use crate::cli::{Client, Failure, Format};
use crate::license::usage::{UsageRow, csv, json_lines};
use crate::license::view::LicenseView;

/// A command on its way.
#[derive(Debug)]
pub(super) struct Act<'a, O> {
    client: &'a Client,
    format: Format,
    out: &'a mut O,
}

impl<'a, O: Write> Act<'a, O> {
    pub(super) const fn of(client: &'a Client, format: Format, out: &'a mut O) -> Self {
        Self { client, format, out }
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        self.client.post(&format!("/v1/admin/license/{what}"), body)
    }

    fn told(&mut self, answer: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Json => writeln!(self.out, "{answer}")?,
            Format::Text => {
                let Answer { in_progress, text } = typed(answer)?;
                writeln!(self.out, "{}", printable(&text))?;
                if in_progress {
                    writeln!(self.out, "It goes on by itself: `callgate license status` shows what became of it.")?;
                }
            }
        }
        Ok(())
    }

    /// A command that stops no call.
    pub(super) fn plain(&mut self, what: &str, body: &Value) -> Result<(), Failure> {
        let answer = self.post(what, body)?;
        self.told(&answer)
    }

    fn overview(&self) -> Result<LicenseView, Failure> {
        typed(&self.client.get("/v1/license?page=overview")?)
    }

    /// Says what would happen on which host, and asks.
    fn agreed(&mut self, yes: bool, node: &str, what: &str, input: &mut impl BufRead) -> Result<(), Failure> {
        let (node, what) = (printable(node), printable(what));
        match Consent::of(yes) {
            Consent::Given => Ok(()),
            Consent::NobodyToAsk => {
                Err(Failure::Refused(format!("on {node} this {what}. Nobody can be asked here: say --yes to do it.")))
            }
            Consent::Ask => {
                write!(self.out, "On {node} this {what}.\nGo on? [y/N] ")?;
                self.out.flush()?;
                let mut answer = String::new();
                input.read_line(&mut answer)?;
                if matches!(answer.trim(), "y" | "Y" | "yes") {
                    Ok(())
                } else {
                    Err(Failure::Refused("nothing was changed".to_owned()))
                }
            }
        }
    }

    pub(super) fn disable(&mut self, yes: bool, input: &mut impl BufRead) -> Result<(), Failure> {
        let now = self.overview()?;
        if now.if_disabled.refuses {
            self.agreed(yes, &now.node, &now.if_disabled.what, input)?;
        }
        self.plain("disable", &json!({}))
    }

    pub(super) fn deregister(&mut self, yes: bool, input: &mut impl BufRead) -> Result<(), Failure> {
        let now = self.overview()?;
        let what = format!("gives the licenses back; {}", now.if_deregistered.what);
        self.agreed(yes, &now.node, &what, input)?;
        self.plain("deregister", &json!({}))
    }

    pub(super) fn restore(&mut self, backup: &Value, yes: bool, input: &mut impl BufRead) -> Result<(), Failure> {
        let now = self.overview()?;
        let what = format!(
            "puts the licensing of the backup in the place of what is there ({}; {}). A registration of this instance \
             that is alive stays. If another machine made the backup, this instance is not registered afterwards; {}",
            now.heading(),
            now.effect_now,
            now.if_deregistered.what
        );
        self.agreed(yes, &now.node, &what, input)?;
        self.plain("restore", backup)
    }

    pub(super) fn factory_reset(&mut self, keep: Keep, yes: bool, input: &mut impl BufRead) -> Result<(), Failure> {
        let now = self.overview()?;
        let keep_licensing = keep == Keep::Yes;
        let what = if keep_licensing && now.registration != "registered" {
            "changes nothing: there is no registration to keep".to_owned()
        } else if keep_licensing {
            "resets licensing but keeps the registration; until the manager is reached again two alarms stand, and calls go on as now"
                .to_owned()
        } else {
            format!("gives the licenses back and resets licensing; {}", now.if_deregistered.what)
        };
        self.agreed(yes, &now.node, &what, input)?;
        self.plain("factory-reset", &json!({ "keep_licensing": keep_licensing }))
    }

    pub(super) fn test_connection(&mut self) -> Result<(), Failure> {
        let answer = self.post("test-connection", &json!({}))?;
        let Connection { failed, steps } = typed(&answer)?;
        match self.format {
            Format::Json => writeln!(self.out, "{answer}")?,
            Format::Text => {
                for step in &steps {
                    let [outcome, name, text] = [&step.outcome, &step.step, &step.text].map(|text| printable(text));
                    writeln!(self.out, "{:<11} {name:<13} {text}", outcome.replace('_', " "))?;
                }
                if failed.is_none() {
                    writeln!(self.out, "The way to the license manager works.")?;
                    if steps.iter().any(|step| step.outcome == "next") {
                        writeln!(self.out, "Next: `callgate license register --token-file FILE`")?;
                    }
                }
            }
        }
        let Some(failed) = failed else { return Ok(()) };
        let why = steps.iter().find(|step| step.step == failed).map_or_else(String::new, |step| printable(&step.text));
        Err(Failure::Refused(format!("the way to the license manager fails at {}: {why}", printable(&failed))))
    }

    pub(super) fn backup(&mut self, file: &Path) -> Result<(), Failure> {
        let backup = self.post("backup", &json!({}))?;
        let text = serde_json::to_string_pretty(&backup).unwrap_or_default() + "\n";
        files::write_new(file, text.as_bytes())?;
        let bytes = text.len();
        match self.format {
            Format::Json => writeln!(self.out, "{}", json!({ "file": file, "bytes": bytes }))?,
            Format::Text => writeln!(
                self.out,
                "Written: {} ({bytes} bytes). It is sealed: only this machine can read it. `callgate license restore` takes it back.",
                file.display()
            )?,
        }
        Ok(())
    }

    pub(super) fn export(&mut self, file: &Path) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Rows {
            rows: Vec<UsageRow>,
        }
        let Rows { rows } = typed(&self.client.get("/v1/license?page=samples")?)?;
        let count = rows.len();
        let lines = file.extension().is_some_and(|extension| extension == "jsonl");
        let to_output = file == Path::new("-");
        let as_json = lines || (to_output && self.format == Format::Json);
        let text = if as_json { json_lines(rows.into_iter()) } else { csv(rows.into_iter()) };
        if to_output {
            write!(self.out, "{text}")?;
            return Ok(());
        }
        files::write_new(file, text.as_bytes())?;
        match self.format {
            Format::Json => writeln!(self.out, "{}", json!({ "file": file, "samples": count }))?,
            Format::Text => writeln!(self.out, "Written: {} (samples of 15 minutes: {count})", file.display())?,
        }
        Ok(())
    }
}
