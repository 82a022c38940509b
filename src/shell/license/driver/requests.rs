//! What the driver is asked: commands, looks, backups, a new configuration.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::task::Driver;
use crate::license::agent::{Alarm, ClientIdentity, Command, CommandRefused, Done};
use crate::license::ports::DailyCount;
use crate::shell::cluster::setup::in_force;
use crate::shell::config::{Config, Secrets};
use crate::shell::context::Context;
use crate::shell::license::handle::Request;
use crate::shell::license::overrides::Overrides;
use crate::shell::license::setup::{agent_setup, ports};
use crate::shell::license::store::{BackupError, read_backup, write_backup};
use crate::units::Now;

impl Driver {
    pub(super) async fn answer(&mut self, context: &Arc<Context>, request: Request) -> ControlFlow<()> {
        // Who asked may have gone: that is no concern of what was asked.
        match request {
            Request::Command(command, answer) => {
                let _ = answer.send(self.command(context, *command).await);
            }
            Request::Look(look) => {
                self.agent.handle_timeout(context.clock.now());
                // What is shown is in force: nobody reads of a state before calls are judged by it.
                self.carry_out(context).await;
                let alarms: Vec<Alarm> = self.agent.alarms().cloned().collect();
                look(&self.parts.view(&self.agent, &alarms, &self.parts.texts()));
            }
            Request::Probe(answer) => self.probe(context, answer),
            Request::Backup(answer) => {
                let node = &self.parts.config.node;
                let (overrides, _) = Overrides::read(&node.data_dir);
                let wall = context.clock.wall();
                let backup = write_backup(self.agent.state(), &overrides, &node.name, wall, &self.parts.seal);
                let _ = answer.send(backup.map_err(|error| refused("backup", &error)));
            }
            Request::Restore(bytes, answer) => {
                let restored = self.restore(context, &bytes).await;
                let _ = answer.send(restored);
            }
            Request::Reconfigure(both, answer) => {
                let (config, secrets) = *both;
                let _ = answer.send(self.reconfigure(context, config, secrets).await);
            }
            Request::Stop(answer) => {
                self.agent.stop(context.clock.now());
                self.carry_out(context).await;
                self.save_usage(context).await;
                let _ = answer.send(());
                return ControlFlow::Break(());
            }
            #[cfg(test)]
            Request::Defects(defects) => {
                assert!(!defects.driver, "a test asked for it");
                self.defects = defects;
            }
        }
        ControlFlow::Continue(())
    }

    /// Carries out a command; what it did is on disk when this returns.
    async fn command(&mut self, context: &Context, command: Command) -> Result<Done, CommandRefused> {
        self.command_at(context, command, context.clock.now()).await
    }

    async fn command_at(&mut self, context: &Context, command: Command, now: Now) -> Result<Done, CommandRefused> {
        let outcome = self.agent.handle_command(command, now);
        self.unsaved = false;
        self.carry_out(context).await;
        if self.unsaved && outcome.is_ok() {
            let text = "it was not carried out: the state of licensing cannot be written (alarm STATE_NOT_SAVED)";
            return Err(CommandRefused { code: "not_saved", text: text.to_owned() });
        }
        outcome
    }

    async fn restore(&mut self, context: &Context, bytes: &[u8]) -> Result<Done, CommandRefused> {
        let backup = read_backup(bytes, &self.parts.seal).map_err(|error| refused("backup", &error))?;
        let state = match backup.state {
            Some(state) => state,
            // Another machine's: the agent is told so by the fingerprint, and takes nothing of it.
            None => {
                let mut state = Box::new(self.agent.state().clone());
                state.fingerprint = backup.fingerprint;
                state
            }
        };
        // The counts first: they bind nothing until the configuration is read again.
        let data_dir = self.parts.config.node.data_dir.clone();
        let (before, _) = Overrides::read(&data_dir);
        let written = backup.overrides.write(&data_dir);
        let done = self.command(context, Command::Restore(state)).await;
        match (done, written) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(done), Err(error)) => {
                tracing::error!("the backup's counts are not in force: {error}");
                Ok(Done { text: format!("{}; the backup's counts are not in force: {error}", done.text), ..done })
            }
            (Err(refused), written) => {
                if written.is_ok()
                    && let Err(error) = before.write(&data_dir)
                {
                    tracing::error!("the counts of operators are the backup's, which was refused: {error}");
                }
                Err(refused)
            }
        }
    }

    /// All of it or nothing. The agent is asked first, without changing anything; then the gate, which may refuse; then it is
    /// kept, which may fail; else everything is as it was.
    async fn reconfigure(&mut self, context: &Context, config: Config, secrets: Secrets) -> Result<(), String> {
        let now = context.clock.now();
        let ports = ports(&config);
        let mut count = self.agent.usage().capacity;
        let counted = DailyCount::refresh(&mut count, &ports, self.agent.effective_now());
        let setup = agent_setup(&config, &self.parts.host, count.as_ref());
        let checked = self.agent.may_configure(&setup, now);
        self.carry_out(context).await;
        if let Err(refused) = checked {
            // Once more, for the alarm that stands for it: at the same instant it is refused again.
            drop(self.command_at(context, Command::Configure(Box::new(setup)), now).await);
            return Err(refused.text);
        }
        let shared = context.cluster.pools();
        let (next, homes) = in_force(&config, self.limits.as_ref(), shared);
        context.gate.set_policy(next, now).map_err(|refused| refused.to_string())?;
        context.cluster.set_homes(homes);
        let old = std::mem::replace(&mut self.parts.config, Arc::new(config));
        if let Err(refused) = self.command_at(context, Command::Configure(Box::new(setup)), now).await {
            self.parts.config = old;
            // It was in force a moment ago: it is not refused. What licensing decided since holds.
            let (before, homes) = in_force(&self.parts.config, self.limits.as_ref(), shared);
            match context.gate.set_policy(before, now) {
                Ok(()) => context.cluster.set_homes(homes),
                Err(error) => tracing::error!("the settings in force before cannot be set again: {error}"),
            }
            return Err(refused.text);
        }
        (self.parts.ports, self.parts.secrets) = (ports, secrets);
        if let Some(count) = count.filter(|_| counted) {
            self.agent.count_capacity(count);
            self.save_usage(context).await;
        }
        Ok(())
    }

    fn probe(
        &self,
        context: &Arc<Context>,
        answer: tokio::sync::oneshot::Sender<crate::shell::license::transport::ProbeReport>,
    ) {
        let transport = self.parts.transport.clone();
        let clock = context.clock;
        let state = self.agent.state();
        let identity = (!state.identity.certificate_chain_b64.is_empty()).then(|| ClientIdentity {
            certificate_chain_b64: state.identity.certificate_chain_b64.clone(),
            key_seed: state.identity.key_seed.clone(),
        });
        let registration = state.registration.name();
        let failure = state.latest_failure.as_ref().map(|failure| format!("; the latest failure: {}", failure.text));
        tokio::spawn(async move {
            let mut report = transport.probe(identity.as_ref(), || clock.wall()).await;
            let text = match registration {
                "registered" => "this instance is registered".to_owned(),
                "pending" => format!("its registration is under way{}", failure.unwrap_or_default()),
                other => format!("this instance is {other}: register it with a token{}", failure.unwrap_or_default()),
            };
            report.conclude("registration", registration == "registered", text);
            // Who asked may have gone.
            let _ = answer.send(report);
        });
    }
}

fn refused(code: &'static str, error: &BackupError) -> CommandRefused {
    CommandRefused { code, text: error.to_string() }
}
