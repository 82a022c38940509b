//! What operators are told: one alarm or alert, in the words and the form that its reader takes.
//!
//! The sidecar's alarms and the license manager's alerts become a [`Notice`]; a [`Filter`] says who wants it, a [`Damper`]
//! keeps one that flaps from flooding, and [`Notice::render`] writes it as a short line, as text, as XML (whose schema is
//! [`XSD`]) or as JSON. Who carries it where is the shell's business. PURE: no clock, no socket.
//!
//! What must stay true: whatever text comes in, what goes out is bounded, well-formed and of its format: one line stays one
//! line, and no text closes an element or begins a header of its own.

mod clean;
mod damper;
mod filter;
mod format;

use serde::{Deserialize, Serialize};

use crate::units::UnixMillis;

pub use damper::{DAMPED_MAX, Damper};
pub use filter::{Category, Filter};
pub use format::{Format, NAMESPACE, SHORT_CHARS_MAX, XSD};

/// The longest sentence (what, effect, next, remedy), in characters.
pub const SENTENCE_CHARS_MAX: usize = 2_000;

/// The longest name (id, alias, subject, source), in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// How many attempts a notice tells of: the last ones.
pub const ATTEMPTS_MAX: usize = 5;

/// How many aliases a notice has.
pub const ALIASES_MAX: usize = 8;

/// How many outputs of commands go with a notice.
pub const ATTACHMENTS_MAX: usize = 8;

/// The longest output of a command, in characters.
pub const ATTACHMENT_CHARS_MAX: usize = 65_536;

/// How much it matters, in the words of ITU-T X.733, with `Info` for what is no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is wrong.
    Info,
    /// Something will go wrong if nobody acts.
    Warning,
    /// Something works less well than it should.
    Major,
    /// Something does not work, or soon will not.
    Critical,
}

impl Level {
    /// All of them, from the mildest on.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Major, Self::Critical];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

/// What became of what the notice tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It began, or became worse.
    Raised,
    /// It ended.
    Cleared,
    /// It happened, and has no end.
    Happened,
    /// Nothing: an operator tries whether notices arrive.
    Test,
}

impl Change {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
            Self::Happened => "happened",
            Self::Test => "test",
        }
    }
}

/// One try at something, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: UnixMillis,
    /// What was tried.
    pub what: String,
    /// Why it failed; `None`: it did not.
    pub failure: Option<String>,
}

/// What a command prints, sent along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The command, such as `license summary`.
    pub command: String,
    /// What it prints.
    pub text: String,
}

/// What operators are told.
///
/// ```
/// use callgate::notice::{Category, Change, Format, Level, Notice};
/// use callgate::units::UnixMillis;
///
/// let notice = Notice {
///     aliases: vec!["30042".to_owned()],
///     source: "pid:callgate,sn:1".to_owned(),
///     what: "No contact.".to_owned(),
///     ..Notice::new(Level::Major, "REG_DOWN", Category::License, Change::Raised, UnixMillis(0))
/// };
/// assert_eq!(notice.render(Format::Short), "major REG_DOWN pid:callgate,sn:1 No contact.");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters. Of one that was cleared: how much it did.
    pub level: Level,
    /// Which alarm or alert, such as `REG_DOWN`.
    pub id: String,
    /// The numbers by which operators of other products know it.
    pub aliases: Vec<String>,
    /// What of it: a limit's name, a pool; may be empty.
    pub subject: String,
    /// Who tells: an UDI, or the manager.
    pub source: String,
    /// What it is about.
    pub category: Category,
    /// What became of it.
    pub change: Change,
    /// Since when.
    pub since: UnixMillis,
    /// When this change was.
    pub at: UnixMillis,
    /// What is the matter.
    pub what: String,
    /// What it does to calls now.
    pub effect: String,
    /// What comes next.
    pub next: String,
    /// When that is, if it has a time.
    pub due: Option<UnixMillis>,
    /// What to do about it.
    pub remedy: String,
    /// The last tries, oldest first.
    pub attempts: Vec<Attempt>,
    /// How often it changed since the last notice of it without being told, because it changes too often.
    pub untold: u32,
    /// Outputs of commands.
    pub attachments: Vec<Attachment>,
}

impl Notice {
    /// A notice without any text. Its `since` is its `at`.
    #[must_use]
    pub fn new(level: Level, id: &str, category: Category, change: Change, at: UnixMillis) -> Self {
        Self {
            level,
            id: id.to_owned(),
            aliases: Vec::new(),
            subject: String::new(),
            source: String::new(),
            category,
            change,
            since: at,
            at,
            what: String::new(),
            effect: String::new(),
            next: String::new(),
            due: None,
            remedy: String::new(),
            attempts: Vec::new(),
            untold: 0,
            attachments: Vec::new(),
        }
    }

    /// What an operator sends to see whether notices arrive.
    #[must_use]
    pub fn test(source: String, at: UnixMillis) -> Self {
        Self {
            source,
            what: "A test of this destination.".to_owned(),
            effect: "No call is affected.".to_owned(),
            next: "Nothing follows.".to_owned(),
            remedy: "Nothing needs to be done.".to_owned(),
            ..Self::new(Level::Info, "TEST", Category::Operation, Change::Test, at)
        }
    }

    /// The same, with every text made printable and no longer than it may be. What was clean stays as it is.
    #[must_use]
    pub fn bounded(&self) -> Self {
        let name = |text: &str| clean::line(text, NAME_CHARS_MAX);
        let sentence = |text: &str| clean::line(text, SENTENCE_CHARS_MAX);
        let skipped = self.attempts.len().saturating_sub(ATTEMPTS_MAX);
        let attempt = |attempt: &Attempt| Attempt {
            at: attempt.at,
            what: name(&attempt.what),
            failure: attempt.failure.as_deref().map(sentence),
        };
        let attachment = |attachment: &Attachment| Attachment {
            command: name(&attachment.command),
            text: clean::lines(&attachment.text, ATTACHMENT_CHARS_MAX),
        };
        Self {
            level: self.level,
            id: name(&self.id),
            aliases: self.aliases.iter().take(ALIASES_MAX).map(|alias| name(alias)).collect(),
            subject: name(&self.subject),
            source: name(&self.source),
            category: self.category,
            change: self.change,
            since: self.since,
            at: self.at,
            what: sentence(&self.what),
            effect: sentence(&self.effect),
            next: sentence(&self.next),
            due: self.due,
            remedy: sentence(&self.remedy),
            attempts: self.attempts.iter().skip(skipped).map(attempt).collect(),
            untold: self.untold,
            attachments: self.attachments.iter().take(ATTACHMENTS_MAX).map(attachment).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
