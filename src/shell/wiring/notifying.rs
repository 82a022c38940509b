//! From this sidecar's alarms and events to notices, and on to the notifier.
//!
//! A task of its own reads the events, as any subscriber does: nobody who raises an alarm waits for it. What must stay true:
//! the last state of each alarm is told, however often it changed; licensing is asked only for what goes along with an
//! alarm, and not for longer than [`ASK_MAX`].

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::license::view::ViewInput;
use crate::notice::{ATTEMPTS_MAX, Attachment, Attempt, Category, Change, Damper, Level, Notice};
use crate::shell::config::{Config, Secrets};
use crate::shell::context::Context;
use crate::shell::notices::{Notifier, setups};
use crate::shell::telemetry::{Alarm, AlarmId, Delivery, Event, EventKind, Severity};

/// What a command that only shows prints, by the command; `None`: no such command.
pub type Pages = fn(&str, &ViewInput<'_>) -> Option<String>;

/// How long licensing is asked at most.
const ASK_MAX: Duration = Duration::from_secs(2);

/// The task that tells, and what it takes to start it again.
#[derive(Debug)]
pub(super) struct Notifying {
    task: JoinHandle<()>,
    pages: Pages,
}

/// Puts the configured destinations in force.
pub(super) fn set(notifier: &Notifier, config: &Config, secrets: &Secrets) {
    // The predefined one, the log, is told by the alarms themselves.
    notifier.set(setups(&config.alarms.destination, &secrets.destinations), config.alarms.log, true);
}

impl Notifying {
    /// Tells from now on, beginning with what happened already.
    pub(super) fn start(context: &Arc<Context>, secrets: &Secrets, pages: Pages) -> Self {
        set(&context.notifier, &context.config.load(), secrets);
        Self { task: tokio::spawn(run(Arc::clone(context), pages, Some(0))), pages }
    }

    /// It ends with the events only: if it did before, a defect stopped it.
    pub(super) fn look(&mut self, context: &Arc<Context>) {
        if self.task.is_finished() && !context.draining() {
            tracing::error!("telling of alarms stopped by a defect; it is started again");
            self.task = tokio::spawn(run(Arc::clone(context), self.pages, None));
        }
    }
}

async fn run(context: Arc<Context>, pages: Pages, from: Option<u64>) {
    let mut events = context.events.subscribe_from(from);
    let damping = |context: &Context| u64::from(context.config.load().alarms.damping.get()) * 1_000;
    let mut damper = Damper::new(damping(&context));
    let mut udi = String::new();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            delivery = events.next() => match delivery {
                Some(Delivery::Event(event)) => vec![of_event(&event)],
                Some(Delivery::Missed(count)) => {
                    tracing::warn!(count, "more happened than could be told; what is active is told again");
                    context.alarms.active().iter().map(of_alarm).collect()
                }
                None => return,
            },
            _ = seconds.tick() => Vec::new(),
        };
        damper.set_interval(damping(&context));
        let now = context.clock.tick();
        let mut due = damper.due(now);
        due.extend(changed.into_iter().filter_map(|notice| damper.offer(notice, now)));
        for notice in due {
            context.notifier.tell(&completed(notice, &context, pages, &mut udi).await);
        }
    }
}

/// The notice with who tells it, the last attempts, and what somebody wants attached.
async fn completed(mut notice: Notice, context: &Context, pages: Pages, udi: &mut String) -> Notice {
    let wanted = context.notifier.attachments(&notice);
    if udi.is_empty() || notice.category == Category::License || !wanted.is_empty() {
        let look = context.license.look(move |input| {
            let texts = wanted.into_iter().filter_map(|command| {
                let text = pages(&command, input)?;
                Some(Attachment { command, text })
            });
            (input.state.udi.to_string(), attempts(input), texts.collect::<Vec<_>>())
        });
        // Without an answer the alarm is told all the same.
        if let Ok(Ok((found, attempts, attachments))) = timeout(ASK_MAX, look).await {
            *udi = found;
            notice.attachments = attachments;
            if notice.category == Category::License {
                notice.attempts = attempts;
            }
        }
    }
    notice.source = if udi.is_empty() { context.config.load().node.name.clone() } else { udi.clone() };
    notice
}

fn attempts(input: &ViewInput<'_>) -> Vec<Attempt> {
    let of = &input.state.contact.attempts;
    let last = of.iter().skip(of.len().saturating_sub(ATTEMPTS_MAX));
    let attempt = |attempt: &crate::license::agent::Attempt| Attempt {
        at: attempt.at,
        what: attempt.endpoint.request().name().to_owned(),
        failure: attempt.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.text)),
    };
    last.map(attempt).collect()
}

fn of_event(event: &Event) -> Notice {
    if let Some(alarm) = &event.alarm {
        return of_alarm(alarm);
    }
    let (level, name) = (level(event.severity), event.kind.name().to_uppercase());
    let category = if event.kind == EventKind::Cluster { Category::Cluster } else { Category::Operation };
    Notice { what: event.text.clone(), ..Notice::new(level, &name, category, Change::Happened, event.at) }
}

fn of_alarm(alarm: &Alarm) -> Notice {
    let change = if alarm.cleared_at.is_some() { Change::Cleared } else { Change::Raised };
    let at = alarm.cleared_at.unwrap_or(alarm.since);
    Notice {
        aliases: alarm.id.alias().map(str::to_owned).into_iter().collect(),
        subject: alarm.subject.clone(),
        since: alarm.since,
        what: alarm.what.clone(),
        effect: alarm.effect.clone(),
        next: alarm.next.clone(),
        remedy: alarm.remedy.clone(),
        ..Notice::new(level(alarm.severity), alarm.id.name(), category(alarm.id), change, at)
    }
}

const fn level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::Info,
        Severity::Warning => Level::Warning,
        Severity::Major => Level::Major,
        Severity::Critical => Level::Critical,
    }
}

/// What an alarm is about.
const fn category(id: AlarmId) -> Category {
    match id {
        AlarmId::CapNear | AlarmId::CapReached | AlarmId::Capacity | AlarmId::Shadow => Category::Admission,
        AlarmId::JournalDegraded | AlarmId::JournalTorn => Category::Journal,
        AlarmId::StateRestored | AlarmId::StateNotSaved => Category::Storage,
        AlarmId::ClockRollback | AlarmId::ClockJump | AlarmId::ClockSkew => Category::Clock,
        AlarmId::ReloadRefused => Category::Configuration,
        AlarmId::ClusterDown
        | AlarmId::ClusterLedger
        | AlarmId::ClusterPeerLost
        | AlarmId::ClusterCertificate
        | AlarmId::ClusterNameTwice
        | AlarmId::ClusterCensus
        | AlarmId::ClusterFull => Category::Cluster,
        AlarmId::EvalNear
        | AlarmId::EvalExpired
        | AlarmId::Enforced
        | AlarmId::RegFailed
        | AlarmId::RegRetry
        | AlarmId::ReregFailed
        | AlarmId::ReregisterNeeded
        | AlarmId::HostnameChanged
        | AlarmId::RegDown
        | AlarmId::AuthDown
        | AlarmId::IdRenewFailed
        | AlarmId::IdExpired
        | AlarmId::IdRevoked
        | AlarmId::AuthRenewFailed
        | AlarmId::AuthExpired
        | AlarmId::OocPending
        | AlarmId::OocImminent
        | AlarmId::Ooc
        | AlarmId::ReportFailed
        | AlarmId::ComputeFailed
        | AlarmId::AgentInitFailed
        | AlarmId::InvalidTag
        | AlarmId::GrantRejected
        | AlarmId::UnknownCa
        | AlarmId::TransportLocked
        | AlarmId::DuplicateUdi
        | AlarmId::DeregOrphan
        | AlarmId::AgentStale => Category::License,
    }
}
