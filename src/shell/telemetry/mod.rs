//! What the sidecar tells about itself: logs, counters, metrics, events and alarms.
//!
//! Everything here is bounded and never waits for a reader.

mod alarms;
mod counters;
mod events;
mod histogram;
pub mod log;
mod metrics;
mod severity;

pub use alarms::{ALARMS_ACTIVE_MAX, ALARMS_HISTORY_MAX, Alarm, AlarmId, Alarms, Raise};
pub use counters::{
    ClosedConnection, Command, Counter, Counters, DatagramCounters, DroppedDatagram, FrontEnd, FrontEndCounters,
    JournalCounters, RefusedConnection,
};
pub use events::{Delivery, EVENTS_KEPT_MAX, Event, EventKind, Events, Subscription};
pub use histogram::{Histogram, HistogramView};
pub use metrics::{METRICS_CONTENT_TYPE, render_metrics};
pub use severity::Severity;
