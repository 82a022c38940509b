//! What happened: a bounded ring of events, and a stream for subscribers.
//!
//! What must stay true: a subscriber that names the last event it saw gets everything after it in order, or is told how
//! much it missed; nothing here ever waits for a subscriber.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::alarms::Alarm;
use super::severity::Severity;
use crate::sync::Mutex;
use crate::units::UnixMillis;

/// How many events are kept for those who come later.
pub const EVENTS_KEPT_MAX: usize = 4_096;

/// How far a subscriber may lag before it has to read from the ring.
const LAG_MAX: usize = 512;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The sidecar started.
    Started,
    /// It is about to stop: new calls are refused.
    Draining,
    /// A limit's use passed 90 % or 100 %, or came back below.
    LimitLevel,
    /// An alarm was raised.
    AlarmRaised,
    /// An alarm was cleared.
    AlarmCleared,
    /// What licensing allows has changed.
    Verdict,
    /// A deadline of licensing comes near.
    DeadlineNear,
    /// Something else of licensing, such as a registration or an authorization.
    License,
    /// A new configuration is in force.
    Reloaded,
    /// A new configuration was refused; the old one stays.
    ReloadRefused,
    /// A proxy lives in a new epoch: its calls are suspect.
    ProxyEpoch,
    /// A RESYNC ended or was aborted.
    Resync,
    /// What the journal brought back at start.
    Recovered,
    /// A table is full.
    Capacity,
    /// An operator did something.
    Operator,
    /// Something of the cluster that an audit asks for, such as the use of a lost member's licenses.
    Cluster,
}

impl EventKind {
    /// Its name in JSON and in the event stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Draining => "draining",
            Self::LimitLevel => "limit_level",
            Self::AlarmRaised => "alarm_raised",
            Self::AlarmCleared => "alarm_cleared",
            Self::Verdict => "verdict",
            Self::DeadlineNear => "deadline_near",
            Self::License => "license",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload_refused",
            Self::ProxyEpoch => "proxy_epoch",
            Self::Resync => "resync",
            Self::Recovered => "recovered",
            Self::Capacity => "capacity",
            Self::Operator => "operator",
            Self::Cluster => "cluster",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Its number. Rises by one, also across restarts (with a jump), and fits a JavaScript number.
    pub id: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: UnixMillis,
    /// What kind of thing.
    pub kind: EventKind,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence for people.
    pub text: String,
    /// The same for programs. Never holds a call's id.
    pub data: serde_json::Value,
    /// The alarm that it tells of, as it was then.
    #[serde(skip)]
    pub alarm: Option<Arc<Alarm>>,
}

/// What happened, for `/v1/events`. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Mutex<Ring>>,
}

#[derive(Debug)]
struct Ring {
    /// The first number of this process.
    first_id: u64,
    next_id: u64,
    kept: VecDeque<Arc<Event>>,
    /// `None` once closed.
    sender: Option<broadcast::Sender<Arc<Event>>>,
}

impl Events {
    /// An empty ring. `started` makes numbers rise across restarts.
    #[must_use]
    pub fn new(started: UnixMillis) -> Self {
        let (sender, _) = broadcast::channel(LAG_MAX);
        // Seconds since the epoch times a million: below 2^53 until the year 2255.
        let first_id = (started.0 / 1_000).saturating_mul(1_000_000).saturating_add(1);
        let ring = Ring { first_id, next_id: first_id, kept: VecDeque::with_capacity(64), sender: Some(sender) };
        Self { inner: Arc::new(Mutex::new(ring)) }
    }

    /// Tells everyone. Returns the event's number.
    pub fn publish(
        &self,
        at: UnixMillis,
        kind: EventKind,
        severity: Severity,
        text: impl Into<String>,
        data: serde_json::Value,
    ) -> u64 {
        self.publish_with(at, kind, severity, text.into(), data, None)
    }

    /// Tells everyone that an alarm was raised or cleared.
    pub(super) fn publish_alarm(
        &self,
        at: UnixMillis,
        kind: EventKind,
        severity: Severity,
        text: String,
        data: serde_json::Value,
        alarm: Alarm,
    ) -> u64 {
        self.publish_with(at, kind, severity, text, data, Some(Arc::new(alarm)))
    }

    fn publish_with(
        &self,
        at: UnixMillis,
        kind: EventKind,
        severity: Severity,
        text: String,
        data: serde_json::Value,
        alarm: Option<Arc<Alarm>>,
    ) -> u64 {
        let mut ring = self.inner.lock();
        let id = ring.next_id;
        ring.next_id = id.saturating_add(1);
        let event = Arc::new(Event { id, at, kind, severity, text, data, alarm });
        if ring.kept.len() >= EVENTS_KEPT_MAX {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&event));
        if let Some(sender) = &ring.sender {
            // An error says that nobody listens: fine.
            let _ = sender.send(event);
        }
        id
    }

    /// The last `limit` events, oldest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Arc<Event>> {
        let ring = self.inner.lock();
        ring.kept.iter().skip(ring.kept.len().saturating_sub(limit)).cloned().collect()
    }

    /// Everything from now on; with `last_id`, everything after that event as far as it is still kept.
    #[must_use]
    pub fn subscribe_from(&self, last_id: Option<u64>) -> Subscription {
        // The ring's lock makes "kept so far" and "from now on" meet without a gap or a repetition.
        let ring = self.inner.lock();
        let receiver = ring.sender.as_ref().map(broadcast::Sender::subscribe);
        let mut subscription = Subscription {
            events: self.clone(),
            backlog: VecDeque::new(),
            missed: 0,
            last_id: ring.next_id.saturating_sub(1),
            receiver,
        };
        if let Some(last_id) = last_id {
            subscription.last_id = last_id.min(subscription.last_id);
            subscription.fill(&ring);
        }
        subscription
    }

    /// Ends every subscription, after what was published so far: the sidecar stops.
    pub fn close(&self) {
        self.inner.lock().sender = None;
    }
}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// So many events are no longer kept; the next one told is the oldest that is.
    Missed(u64),
}

/// One subscriber's place in the stream.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    backlog: VecDeque<Arc<Event>>,
    missed: u64,
    last_id: u64,
    receiver: Option<broadcast::Receiver<Arc<Event>>>,
}

impl Subscription {
    /// What comes next; `None` when the sidecar stops. Safe to drop while waiting.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.missed > 0 {
                return Some(Delivery::Missed(std::mem::take(&mut self.missed)));
            }
            if let Some(event) = self.backlog.pop_front() {
                self.last_id = event.id;
                return Some(Delivery::Event(event));
            }
            match self.receiver.as_mut()?.recv().await {
                // Told before, from the ring.
                Ok(event) if event.id <= self.last_id => {}
                Ok(event) => {
                    self.last_id = event.id;
                    return Some(Delivery::Event(event));
                }
                Err(RecvError::Lagged(_)) => {
                    let events = self.events.clone();
                    self.fill(&events.inner.lock());
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Takes from the ring what comes after the last event told.
    fn fill(&mut self, ring: &Ring) {
        self.backlog = ring.kept.iter().filter(|event| event.id > self.last_id).cloned().collect();
        // Numbers jump where the sidecar restarted: only what this process numbered can be counted as missed.
        let told = self.last_id.max(ring.first_id.saturating_sub(1));
        self.missed = self.backlog.front().map_or(0, |first| first.id.saturating_sub(told).saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_800_000_000_123);

    fn publish(events: &Events, text: &str) -> u64 {
        events.publish(START, EventKind::Operator, Severity::Info, text, serde_json::Value::Null)
    }

    fn text(delivery: Option<Delivery>) -> String {
        match delivery {
            Some(Delivery::Event(event)) => event.text.clone(),
            Some(Delivery::Missed(n)) => format!("missed {n}"),
            None => "end".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_subscriber_gets_what_it_missed_and_then_what_happens_in_order_and_once() {
        let events = Events::new(START);
        let first = publish(&events, "a");
        publish(&events, "b");
        let mut subscription = events.subscribe_from(Some(first));
        publish(&events, "c");
        assert_eq!(text(subscription.next().await), "b");
        assert_eq!(text(subscription.next().await), "c");
        events.close();
        assert_eq!(text(subscription.next().await), "end");
    }

    #[tokio::test]
    async fn without_a_last_event_only_what_comes_is_told() {
        let events = Events::new(START);
        publish(&events, "before");
        let mut subscription = events.subscribe_from(None);
        publish(&events, "after");
        assert_eq!(text(subscription.next().await), "after");
    }

    #[tokio::test]
    async fn a_subscriber_that_lags_reads_on_from_the_ring_and_loses_nothing_that_is_kept() {
        let events = Events::new(START);
        let mut subscription = events.subscribe_from(None);
        let total = LAG_MAX * 3;
        for i in 0..total {
            publish(&events, &i.to_string());
        }
        for i in 0..total {
            assert_eq!(text(subscription.next().await), i.to_string());
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_kept_is_told_as_missed() {
        let events = Events::new(START);
        let first = publish(&events, "first");
        for i in 0..EVENTS_KEPT_MAX + 10 {
            publish(&events, &i.to_string());
        }
        let mut subscription = events.subscribe_from(Some(first));
        assert_eq!(text(subscription.next().await), "missed 10");
        assert_eq!(text(subscription.next().await), "10");
        assert_eq!(events.latest(usize::MAX).len(), EVENTS_KEPT_MAX);
    }

    #[tokio::test]
    async fn a_number_from_before_a_restart_brings_everything_since_the_start() {
        let before = Events::new(START);
        let old = publish(&before, "old life");
        let events = Events::new(UnixMillis(START.0 + 60_000));
        publish(&events, "new life");
        let mut subscription = events.subscribe_from(Some(old));
        assert_eq!(text(subscription.next().await), "new life");
        assert!(events.latest(1)[0].id > old);
        assert!(events.latest(1)[0].id < 1 << 53);
    }
}
