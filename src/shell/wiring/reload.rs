//! Takes over a new configuration, whole or not at all.

use serde_json::json;

use super::clustering::Clustering;
use crate::shell::config::{Config, Loaded, Loader, LogFormat};
use crate::shell::context::{Context, ReloadRefused, Reloaded};
use crate::shell::license::driver::Supervisor;
use crate::shell::listeners::Running;
use crate::shell::telemetry::log::{self, LogHandle, LogSettings};
use crate::shell::telemetry::{AlarmId, EventKind, Raise, Severity};

/// What a reload works on.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) loader: Loader,
    pub(super) log: Option<LogHandle>,
}

impl Reloader {
    /// Reads the configuration again and puts it in force. Told as log line, event, counter, and alarm while refused.
    ///
    /// # Errors
    /// Every reason; then nothing changed.
    pub(super) async fn reload(
        &self,
        context: &Context,
        licensing: &Supervisor,
        running: &Running,
        clustering: &mut Clustering,
    ) -> Result<Reloaded, ReloadRefused> {
        let result = self.try_reload(context, licensing, running, clustering).await;
        let wall = context.clock.wall();
        match &result {
            Ok(reloaded) => {
                context.alarms.clear(AlarmId::ReloadRefused, "", wall);
                let text = match reloaded.changed.as_slice() {
                    [] => "The configuration was read again; nothing differs.".to_owned(),
                    changed => format!("A new configuration is in force; changed: {}.", changed.join(", ")),
                };
                tracing::info!("{text}");
                let data = json!({ "changed": reloaded.changed });
                context.events.publish(wall, EventKind::Reloaded, Severity::Info, text, data);
                // Counted last: who sees the count finds everything done.
                context.counters.reloads().inc();
            }
            Err(refused) => {
                context.alarms.raise(refused_alarm(refused), wall);
                for reason in &refused.reasons {
                    tracing::error!("reload refused, the old configuration stays in force: {reason}");
                }
                let text = "A new configuration was refused; the old one stays in force.";
                let data = json!({ "reasons": refused.reasons });
                context.events.publish(wall, EventKind::ReloadRefused, Severity::Warning, text, data);
                context.counters.reloads_refused().inc();
            }
        }
        result
    }

    async fn try_reload(
        &self,
        context: &Context,
        licensing: &Supervisor,
        running: &Running,
        clustering: &mut Clustering,
    ) -> Result<Reloaded, ReloadRefused> {
        let refused = |reasons: Vec<String>| ReloadRefused { reasons };
        let Loaded { config, secrets, warnings, .. } =
            self.loader.load().map_err(|problems| refused(problems.0.iter().map(ToString::to_string).collect()))?;
        let old = context.config.load_full();
        let change =
            old.reload_from(config).map_err(|restart| refused(restart.0.iter().map(ToString::to_string).collect()))?;
        // A frozen configuration can still be licensed: that is how the freeze ends.
        let frozen = context.gate.verdict().get().configuration.is_some();
        if let Some(key) = change.keys.iter().find(|key| frozen && !key.starts_with("license.")) {
            return Err(refused(vec![format!(
                "licensing refuses changes of the configuration now (`callgate alarms` says why); found a change of \
                 {key}, accepted are keys of [license]"
            )]));
        }
        let settings = super::listen::settings(&change.config, &secrets);
        crate::shell::listeners::check_exposure(&settings).map_err(|error| refused(vec![error.to_string()]))?;
        // The certificates are read again even where no key changed: that is how they are renewed.
        let identity = clustering.read_identity(&change.config, context).map_err(|reason| refused(vec![reason]))?;
        context.license.reconfigure(&change.config, &secrets).await.map_err(|reason| refused(vec![reason]))?;
        // From here on nothing fails.
        super::notifying::set(&context.notifier, &change.config, &secrets);
        licensing.set_secrets(secrets);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        running.set_access(settings.access);
        clustering.take_identity(identity, context).await;
        if let Some(log) = &self.log
            && let Err(error) = log.change(&log_settings(&change.config))
        {
            tracing::warn!("the log stays as it was: {error}");
        }
        context.alarms.set_logged(change.config.alarms.log);
        super::tell_mode(context, &change.config);
        context.config.store(change.config.into());
        Ok(Reloaded { changed: change.keys })
    }
}

/// The log as configured.
pub(super) fn log_settings(config: &Config) -> LogSettings {
    LogSettings {
        level: config.telemetry.log_level.name().to_owned(),
        format: match config.telemetry.log_format {
            LogFormat::Text => log::LogFormat::Text,
            LogFormat::Json => log::LogFormat::Json,
        },
        call_ids: config.telemetry.log_call_ids,
    }
}

fn refused_alarm(refused: &ReloadRefused) -> Raise {
    Raise {
        id: AlarmId::ReloadRefused,
        subject: String::new(),
        severity: Severity::Warning,
        what: format!("The last reload was refused: {}", refused.reasons.join("; ").replace('\n', " ")),
        effect: "Calls are decided by the old configuration.".to_owned(),
        next: "A reload that succeeds ends the alarm; a restart with this configuration may fail.".to_owned(),
        remedy: "Correct it; `callgate config check` shows every problem.".to_owned(),
    }
}
