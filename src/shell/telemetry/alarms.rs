//! Alarms: what is wrong now, since when, what it does to calls, what happens next, and what to do.
//!
//! Raising is idempotent by identity and subject, clearing too. Every change is told as an event and as a log line from
//! here, so that no caller forgets. What must stay true: both lists are bounded, and what did not fit is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::events::{EventKind, Events};
use super::severity::Severity;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::units::UnixMillis;

/// How many alarms may be active; one more is not kept, only counted, logged and told as an event.
pub const ALARMS_ACTIVE_MAX: usize = 1_000;

/// How many cleared alarms are remembered.
pub const ALARMS_HISTORY_MAX: usize = 1_000;

macro_rules! alarm_ids {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What an alarm is about. The names are part of the interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AlarmId {
            $($(#[$doc])* $variant,)*
        }

        impl AlarmId {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

alarm_ids! {
    /// A limit is 90 % used or more. Subject: the limit.
    CapNear = "CAP_NEAR",
    /// A limit is used up. Subject: the limit.
    CapReached = "CAP_REACHED",
    /// The evaluation period ends soon.
    EvalNear = "EVAL_NEAR",
    /// The evaluation period is used up.
    EvalExpired = "EVAL_EXPIRED",
    /// The profile refuses new calls, registrations or changes of the configuration.
    Enforced = "ENFORCED",
    /// The journal does not keep everything: some calls would not survive a restart.
    JournalDegraded = "JOURNAL_DEGRADED",
    /// The journal's tail was damaged at start.
    JournalTorn = "JOURNAL_TORN",
    /// A table is full. Subject: the table.
    Capacity = "CAPACITY",
    /// A state file was lost or damaged, and restored from its second copy.
    StateRestored = "STATE_RESTORED",
    /// A state file cannot be written.
    StateNotSaved = "STATE_NOT_SAVED",
    /// The wall clock went back.
    ClockRollback = "CLOCK_ROLLBACK",
    /// The wall clock leapt ahead.
    ClockJump = "CLOCK_JUMP",
    /// The license manager's clock differs.
    ClockSkew = "CLOCK_SKEW",
    /// Registration was refused.
    RegFailed = "REG_FAILED",
    /// Registration is tried again.
    RegRetry = "REG_RETRY",
    /// Registration in another account failed; the old one stays.
    ReregFailed = "REREG_FAILED",
    /// This host must be registered again.
    ReregisterNeeded = "REREGISTER_NEEDED",
    /// The host has another name than the license manager knows.
    HostnameChanged = "HOSTNAME_CHANGED",
    /// No contact for registration. Other systems know it as 30042.
    RegDown = "REG_DOWN",
    /// No contact for authorization. Other systems know it as 30044.
    AuthDown = "AUTH_DOWN",
    /// The id certificate was not renewed.
    IdRenewFailed = "ID_RENEW_FAILED",
    /// The id certificate has expired.
    IdExpired = "ID_EXPIRED",
    /// The license manager removed or revoked this instance.
    IdRevoked = "ID_REVOKED",
    /// The authorization was not renewed.
    AuthRenewFailed = "AUTH_RENEW_FAILED",
    /// The authorization has expired.
    AuthExpired = "AUTH_EXPIRED",
    /// More is used than licensed, for less than the tolerated time.
    OocPending = "OOC_PENDING",
    /// The same, shortly before its end.
    OocImminent = "OOC_IMMINENT",
    /// The account is short of licenses.
    Ooc = "OOC",
    /// A usage report failed.
    ReportFailed = "REPORT_FAILED",
    /// Usage cannot be computed.
    ComputeFailed = "COMPUTE_FAILED",
    /// The licensing agent cannot start.
    AgentInitFailed = "AGENT_INIT_FAILED",
    /// The license manager doesn't know an entitlement tag.
    InvalidTag = "INVALID_TAG",
    /// A grant was not believed.
    GrantRejected = "GRANT_REJECTED",
    /// The license manager's certificate comes from an unknown authority.
    UnknownCa = "UNKNOWN_CA",
    /// The way to the license manager cannot change while registered.
    TransportLocked = "TRANSPORT_LOCKED",
    /// Two hosts have this identity.
    DuplicateUdi = "DUPLICATE_UDI",
    /// The license manager was not told of a deregistration.
    DeregOrphan = "DEREG_ORPHAN",
    /// The licensing agent doesn't run.
    AgentStale = "AGENT_STALE",
    /// The last reload was refused.
    ReloadRefused = "RELOAD_REFUSED",
    /// Shadow mode: nothing is refused.
    Shadow = "SHADOW",
    /// The cluster's driver doesn't run.
    ClusterDown = "CLUSTER_DOWN",
    /// The cluster's ledger cannot be written: nothing more is lent.
    ClusterLedger = "CLUSTER_LEDGER",
    /// A member of the cluster is not reached for long. Subject: the member.
    ClusterPeerLost = "CLUSTER_PEER_LOST",
    /// A certificate of the cluster ends soon, or has ended. Subject: whose.
    ClusterCertificate = "CLUSTER_CERTIFICATE",
    /// Two nodes of the cluster use one name, or one ledger. Subject: the name.
    ClusterNameTwice = "CLUSTER_NAME_TWICE",
    /// This node's ledger is new, and members haven't said what they hold of it: its own licenses are out of use.
    ClusterCensus = "CLUSTER_CENSUS",
    /// The cluster has more members than its list can have.
    ClusterFull = "CLUSTER_FULL",
}

impl AlarmId {
    /// The number by which another product's operators know this alarm.
    #[must_use]
    pub fn alias(self) -> Option<&'static str> {
        match self.name() {
            "REG_DOWN" => Some("30042"),
            "AUTH_DOWN" => Some("30044"),
            _ => None,
        }
    }
}

impl Serialize for AlarmId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An alarm to raise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// What it is about.
    pub id: AlarmId,
    /// What of it: a limit's name, a table's, or empty.
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, as one sentence.
    pub what: String,
    /// What it does to calls now.
    pub effect: String,
    /// What happens next, and when.
    pub next: String,
    /// What to do about it.
    pub remedy: String,
}

/// An alarm, active or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// What it is about.
    pub id: AlarmId,
    /// What of it: a limit's name, a table's, or empty.
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: UnixMillis,
    /// When it was cleared; `None` while it is active.
    pub cleared_at: Option<UnixMillis>,
    /// What is wrong.
    pub what: String,
    /// What it does to calls now.
    pub effect: String,
    /// What happens next, and when.
    pub next: String,
    /// What to do about it.
    pub remedy: String,
}

/// Active alarms and their history. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Alarms {
    events: Events,
    logged: Arc<AtomicBool>,
    inner: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    active: BTreeMap<(AlarmId, String), Alarm>,
    history: VecDeque<Alarm>,
    raised_total: u64,
    not_kept_total: u64,
}

/// What one call to [`Alarms::raise`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    New,
    Worse,
    Same,
    Full,
}

impl Alarms {
    /// No alarms. Changes are told to `events`.
    #[must_use]
    pub fn new(events: Events) -> Self {
        Self { events, logged: Arc::new(AtomicBool::new(true)), inner: Arc::default() }
    }

    /// Whether alarms are logged as they are raised and cleared (`alarms.log`); as events they are always told.
    pub fn set_logged(&self, logged: bool) {
        self.logged.store(logged, Ordering::Relaxed);
    }

    /// Raises an alarm, or renews the text of one that is active (its `since` stays). `true` if it is new or its severity
    /// rose, which is told.
    pub fn raise(&self, raise: Raise, at: UnixMillis) -> bool {
        let (found, alarm) = self.inner.lock().raise(raise, at);
        let news = found != Found::Same;
        if news {
            self.tell_raised(alarm, at);
        }
        news
    }

    /// Clears an alarm. `true` if it was active.
    pub fn clear(&self, id: AlarmId, subject: &str, at: UnixMillis) -> bool {
        let cleared = self.inner.lock().clear(id, subject, at);
        let Some(alarm) = cleared else { return false };
        if self.logged.load(Ordering::Relaxed) {
            tracing::info!(alarm = id.name(), subject, "alarm cleared: {}", alarm.what);
        }
        self.events.publish_alarm(
            at,
            EventKind::AlarmCleared,
            Severity::Info,
            format!("{} cleared: {}", title(id, subject), alarm.what),
            json!({ "alarm": id.name(), "subject": subject, "since": alarm.since }),
            alarm,
        );
        true
    }

    /// Whether this alarm is active.
    #[must_use]
    pub fn is_active(&self, id: AlarmId, subject: &str) -> bool {
        self.inner.lock().active.contains_key(&(id, subject.to_owned()))
    }

    /// Active alarms, the gravest first, then the oldest.
    #[must_use]
    pub fn active(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = self.inner.lock().active.values().cloned().collect();
        alarms.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        alarms
    }

    /// Cleared alarms, the latest first.
    #[must_use]
    pub fn history(&self) -> Vec<Alarm> {
        self.inner.lock().history.iter().rev().cloned().collect()
    }

    /// Alarms raised since start.
    #[must_use]
    pub fn raised_total(&self) -> u64 {
        self.inner.lock().raised_total
    }

    /// Alarms that were told but not kept, because [`ALARMS_ACTIVE_MAX`] were active.
    #[must_use]
    pub fn not_kept_total(&self) -> u64 {
        self.inner.lock().not_kept_total
    }

    fn tell_raised(&self, raised: Alarm, at: UnixMillis) {
        let Alarm { id, subject, severity, what, effect, next, remedy, .. } = &raised;
        let alarm = id.name();
        let alias = id.alias();
        if self.logged.load(Ordering::Relaxed) {
            match severity {
                Severity::Info => tracing::info!(alarm, subject, "{what} {effect} {next} {remedy}"),
                Severity::Warning => tracing::warn!(alarm, subject, "{what} {effect} {next} {remedy}"),
                Severity::Major | Severity::Critical => {
                    tracing::error!(alarm, subject, "{what} {effect} {next} {remedy}");
                }
            }
        }
        let (severity, text) = (*severity, format!("{}: {what}", title(*id, subject)));
        let data = json!({
            "alarm": alarm, "alias": alias, "subject": subject, "effect": effect, "next": next, "remedy": remedy
        });
        self.events.publish_alarm(at, EventKind::AlarmRaised, severity, text, data, raised);
    }
}

fn title(id: AlarmId, subject: &str) -> String {
    if subject.is_empty() { id.name().to_owned() } else { format!("{} {subject}", id.name()) }
}

impl State {
    fn raise(&mut self, raise: Raise, at: UnixMillis) -> (Found, Alarm) {
        let Raise { id, subject, severity, what, effect, next, remedy } = raise;
        if let Some(alarm) = self.active.get_mut(&(id, subject.clone())) {
            let worse = severity > alarm.severity;
            *alarm = Alarm { id, subject, severity, since: alarm.since, cleared_at: None, what, effect, next, remedy };
            return (if worse { Found::Worse } else { Found::Same }, alarm.clone());
        }
        self.raised_total = self.raised_total.saturating_add(1);
        let alarm =
            Alarm { id, subject: subject.clone(), severity, since: at, cleared_at: None, what, effect, next, remedy };
        if self.active.len() >= ALARMS_ACTIVE_MAX {
            self.not_kept_total = self.not_kept_total.saturating_add(1);
            return (Found::Full, alarm);
        }
        self.active.insert((id, subject), alarm.clone());
        (Found::New, alarm)
    }

    fn clear(&mut self, id: AlarmId, subject: &str, at: UnixMillis) -> Option<Alarm> {
        let mut alarm = self.active.remove(&(id, subject.to_owned()))?;
        alarm.cleared_at = Some(at);
        if self.history.len() >= ALARMS_HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(alarm.clone());
        Some(alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixMillis = UnixMillis(1_800_000_000_000);
    const T1: UnixMillis = UnixMillis(1_800_000_060_000);

    fn near(subject: &str, severity: Severity) -> Raise {
        Raise {
            id: AlarmId::CapNear,
            subject: subject.to_owned(),
            severity,
            what: format!("{subject} is 90 % used."),
            effect: "No call is refused.".to_owned(),
            next: "At 100 % new calls are refused.".to_owned(),
            remedy: "License more.".to_owned(),
        }
    }

    fn alarms() -> (Alarms, Events) {
        let events = Events::new(T0);
        (Alarms::new(events.clone()), events)
    }

    #[test]
    fn raising_twice_is_one_alarm_that_keeps_its_beginning() {
        let (alarms, events) = alarms();
        assert!(alarms.raise(near("cps", Severity::Warning), T0));
        assert!(!alarms.raise(near("cps", Severity::Warning), T1));
        let active = alarms.active();
        assert_eq!((active.len(), active[0].since), (1, T0));
        assert_eq!(events.latest(10).len(), 1);
    }

    #[test]
    fn a_graver_severity_is_told_again() {
        let (alarms, events) = alarms();
        alarms.raise(near("cps", Severity::Warning), T0);
        assert!(alarms.raise(near("cps", Severity::Major), T1));
        assert_eq!(events.latest(10).len(), 2);
        assert_eq!(alarms.active()[0].severity, Severity::Major);
    }

    #[test]
    fn clearing_moves_an_alarm_to_the_history_once() {
        let (alarms, events) = alarms();
        alarms.raise(near("cps", Severity::Warning), T0);
        assert!(!alarms.clear(AlarmId::CapNear, "webrtc", T1), "another subject's alarm stays");
        assert!(alarms.clear(AlarmId::CapNear, "cps", T1));
        assert!(!alarms.clear(AlarmId::CapNear, "cps", T1));
        assert!(alarms.active().is_empty());
        assert_eq!(alarms.history()[0].cleared_at, Some(T1));
        let kinds: Vec<_> = events.latest(10).iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::AlarmRaised, EventKind::AlarmCleared]);
    }

    #[test]
    fn the_gravest_alarm_comes_first() {
        let (alarms, _) = alarms();
        alarms.raise(near("a", Severity::Warning), T0);
        alarms.raise(near("b", Severity::Critical), T1);
        assert_eq!(alarms.active()[0].subject, "b");
    }

    #[test]
    fn both_lists_are_bounded_and_what_did_not_fit_is_counted() {
        let (alarms, _) = alarms();
        for i in 0..=ALARMS_ACTIVE_MAX {
            alarms.raise(near(&i.to_string(), Severity::Warning), T0);
        }
        assert_eq!((alarms.active().len(), alarms.not_kept_total()), (ALARMS_ACTIVE_MAX, 1));
        for round in 0..2 {
            for i in 0..ALARMS_ACTIVE_MAX {
                alarms.raise(near(&i.to_string(), Severity::Warning), T0);
                alarms.clear(AlarmId::CapNear, &i.to_string(), T1);
            }
            assert_eq!(alarms.history().len(), ALARMS_HISTORY_MAX, "round {round}");
        }
    }

    #[test]
    fn every_alarm_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = AlarmId::ALL.iter().map(|id| id.name()).collect();
        assert_eq!(names.len(), AlarmId::ALL.len());
    }
}
