//! Logs: structured lines to standard error, as text for people or JSON for collectors. The level changes on reload.
//!
//! Whoever logs never waits for standard error: a thread writes, from a bounded queue; what does not fit is dropped and
//! counted.
//!
//! What must stay true: no call's id above `debug`, unless the operator asked for it (`[telemetry] log_call_ids`): ids
//! name people. Code that logs an id wraps it in [`call_id`].

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt as layer, reload};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What to log, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`; or per part, such as `info,callgate::shell::journal=debug`.
    pub level: String,
    /// How lines look; fixed at start.
    pub format: LogFormat,
    /// Write ids of calls into the log.
    pub call_ids: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text, call_ids: false }
    }
}

/// The log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level isn't one.
    #[error(
        "log level \"{found}\" is not understood; accepted are error, warn, info, debug, trace, or a list such as \
         \"info,callgate::shell::journal=debug\""
    )]
    Level {
        /// What was found.
        found: String,
    },
    /// Another subscriber was installed before.
    #[error("the log is set up already")]
    Installed,
    /// The system gives no thread to write with.
    #[error("the operating system gives no thread to write the log with: {0}")]
    Thread(io::Error),
}

/// Changes the running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    queue: Queue,
}

static CALL_IDS: AtomicBool = AtomicBool::new(false);

/// How many lines wait for standard error at most.
const LINES_WAITING_MAX: usize = 4096;

/// One queue per process: that of the installed log.
static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped because standard error took no more, since start.
#[must_use]
pub fn lines_dropped_total() -> u64 {
    LINES_DROPPED.load(Ordering::Relaxed)
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Written(SyncSender<()>),
}

/// Where lines wait for the thread that writes them.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Message>,
    dropped: &'static AtomicU64,
}

impl Queue {
    /// Starts the thread. It ends when the last queue is dropped.
    fn start(lines_max: usize, dropped: &'static AtomicU64, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(lines_max);
        thread::Builder::new().name("callgate-log".to_owned()).spawn(move || write_lines(&waiting, out))?;
        Ok(Self { lines, dropped })
    }

    /// Waits until everything logged so far is written, but no longer than `within`. `false` if it isn't.
    fn flush(&self, within: Duration) -> bool {
        let (written, done) = sync_channel(1);
        let lines = self.lines.clone();
        // Where the queue is full it waits for room, so not here.
        let asked = thread::Builder::new().spawn(move || lines.send(Message::Written(written)));
        asked.is_ok() && done.recv_timeout(within).is_ok()
    }
}

fn write_lines(waiting: &Receiver<Message>, mut out: impl Write) {
    while let Ok(message) = waiting.recv() {
        // There is nobody to tell where standard error is closed, or where who waited has gone.
        match message {
            Message::Line(line) => {
                let _ = out.write_all(&line);
            }
            Message::Written(written) => {
                let _ = out.flush();
                let _ = written.try_send(());
            }
        }
    }
}

/// Writes whole lines into the queue: the formatter hands over one at a time.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Message::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Parses a level.
///
/// # Errors
/// If it isn't one; nothing is changed.
pub fn parse_level(level: &str) -> Result<Targets, LogError> {
    let bad = || LogError::Level { found: level.to_owned() };
    // Other crates' lines are of interest only where something is wrong, unless they are named.
    match level.parse::<LevelFilter>() {
        Ok(level) => Ok(Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("callgate", level)),
        Err(_) => level.parse::<Targets>().map_err(|_| bad()),
    }
}

/// Sets up the log of this process. Call it once.
///
/// # Errors
/// If the level isn't understood, or the log was set up before.
pub fn init(settings: &LogSettings) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
    CALL_IDS.store(settings.call_ids, Ordering::Relaxed);
    // systemd's journal notes the time itself.
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let queue = Queue::start(LINES_WAITING_MAX, &LINES_DROPPED, io::stderr()).map_err(LogError::Thread)?;
    let lines = layer::layer().with_writer(queue.clone()).with_ansi(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match (settings.format, journald) {
        (LogFormat::Json, _) => lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed(),
        (LogFormat::Text, true) => lines.without_time().with_target(false).with_filter(filter).boxed(),
        (LogFormat::Text, false) => lines.with_target(false).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).try_init().map_err(|_| LogError::Installed)?;
    Ok(LogHandle { filter: handle, queue })
}

impl LogHandle {
    /// Waits until everything logged so far is written, but no longer than `within`. `false` if it isn't: standard error
    /// takes nothing.
    pub fn flush(&self, within: Duration) -> bool {
        self.queue.flush(within)
    }

    /// Changes the level, and whether calls' ids are written. The format stays as it was at start.
    ///
    /// # Errors
    /// If the level isn't understood; then nothing changed.
    pub fn change(&self, settings: &LogSettings) -> Result<(), LogError> {
        let filter = parse_level(&settings.level)?;
        self.filter.modify(|current| *current = filter).map_err(|_| LogError::Installed)?;
        CALL_IDS.store(settings.call_ids, Ordering::Relaxed);
        Ok(())
    }
}

/// A call's id for a log line above `debug`: its text only if the operator asked for it, else its length.
#[must_use]
pub fn call_id(id: &[u8]) -> impl fmt::Display {
    CallIdText { id, shown: CALL_IDS.load(Ordering::Relaxed) }
}

struct CallIdText<'a> {
    id: &'a [u8],
    shown: bool,
}

impl fmt::Display for CallIdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shown {
            write!(f, "{}", self.id.escape_ascii())
        } else {
            write!(f, "({} bytes; log_call_ids is off)", self.id.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn one_word_sets_our_level_and_keeps_other_crates_at_warnings() {
        let targets = parse_level("debug").unwrap();
        assert!(targets.would_enable("callgate::shell", &Level::DEBUG));
        assert!(!targets.would_enable("hyper", &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn a_list_sets_levels_by_part() {
        let targets = parse_level("warn,callgate::shell::journal=debug").unwrap();
        assert!(targets.would_enable("callgate::shell::journal", &Level::DEBUG));
        assert!(!targets.would_enable("callgate::shell::listeners", &Level::INFO));
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_is_accepted() {
        let error = parse_level("info,callgate=loud").unwrap_err().to_string();
        assert!(error.contains("loud") && error.contains("trace"), "{error}");
    }

    #[test]
    fn who_logs_never_waits_for_standard_error_and_what_does_not_fit_is_counted() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        /// Takes a line only when told to.
        struct Stuck(Receiver<()>, std::sync::mpsc::Sender<Vec<u8>>);
        impl Write for Stuck {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                // An error: nobody holds it back any more.
                let _ = self.0.recv();
                self.1.send(line.to_vec()).map_err(io::Error::other)?;
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = sync_channel(0);
        let (written, lines) = std::sync::mpsc::channel();
        let queue = Queue::start(4, &DROPPED, Stuck(held, written)).unwrap();
        for line in 0..100_u8 {
            queue.make_writer().write_all(&[line]).unwrap();
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        // The thread may hold one line besides the four that wait.
        assert!((95..=96).contains(&dropped), "{dropped}");
        assert!(!queue.flush(Duration::from_millis(1)), "nothing is written yet");
        drop(release);
        assert!(queue.flush(Duration::from_secs(15)));
        let lines: Vec<u8> = lines.try_iter().flatten().collect();
        assert_eq!(u64::try_from(lines.len()).unwrap() + dropped, 100);
        assert_eq!(lines.first(), Some(&0));
    }

    #[test]
    fn a_calls_id_is_hidden_unless_asked_for() {
        let hidden = CallIdText { id: b"alice@example.org", shown: false }.to_string();
        assert!(!hidden.contains("alice"), "{hidden}");
        assert_eq!(CallIdText { id: b"a\n\xff", shown: true }.to_string(), "a\\n\\xff");
    }
}
