//! A notice in its four formats.

use std::fmt::Write;

use quick_xml::escape::escape;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Attachment, Attempt, Change, Notice, clean};
use crate::units::UnixMillis;
use crate::units::when::{iso, when};

/// The longest short line, in characters: what a pager shows.
pub const SHORT_CHARS_MAX: usize = 160;

/// How much of the short line its source may take.
const SHORT_SOURCE_CHARS_MAX: usize = 64;
/// How much of it the id may take.
const SHORT_ID_CHARS_MAX: usize = 40;

/// The XML's namespace.
pub const NAMESPACE: &str = "urn:callgate:notice:1";

/// The XML's schema.
pub const XSD: &str = include_str!("../../config/notice.xsd");

/// How a notice is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One line of at most [`SHORT_CHARS_MAX`] characters.
    Short,
    /// For people: everything, line by line.
    Full,
    /// For machines: an element for each field, as [`XSD`] says.
    Xml,
    /// For machines: the same as JSON.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Short, Self::Full, Self::Xml, Self::Json];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Full => "full",
            Self::Xml => "xml",
            Self::Json => "json",
        }
    }

    /// The media type of what it writes.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Short | Self::Full => "text/plain; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

impl Notice {
    /// The notice in this format. Every text in it is [bounded](Notice::bounded) first.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let notice = self.bounded();
        match format {
            Format::Short => notice.short(),
            Format::Full => notice.full(),
            Format::Xml => notice.xml(),
            Format::Json => notice.json().to_string(),
        }
    }

    /// What stands before the text of a short line: what became of it, unless it was simply raised.
    fn prefix(&self) -> String {
        let mut prefix = match self.change {
            Change::Raised | Change::Happened => String::new(),
            Change::Cleared => "cleared: ".to_owned(),
            Change::Test => "test: ".to_owned(),
        };
        if self.untold > 0 {
            // Writing to a string does not fail.
            let _ = write!(prefix, "({} changes untold) ", self.untold);
        }
        prefix
    }

    fn short(&self) -> String {
        let mut line = self.level.name().to_owned();
        for (text, max) in [(&self.id, SHORT_ID_CHARS_MAX), (&self.source, SHORT_SOURCE_CHARS_MAX)] {
            line.push(' ');
            line.push_str(&clean::line(if text.is_empty() { "-" } else { text }, max));
        }
        let subject = if self.subject.is_empty() { String::new() } else { format!("{}: ", self.subject) };
        let text = format!("{line} {}{subject}{}", self.prefix(), self.what);
        clean::line(text.trim_end(), SHORT_CHARS_MAX)
    }

    fn full(&self) -> String {
        let aliases = if self.aliases.is_empty() { String::new() } else { format!(" ({})", self.aliases.join(", ")) };
        let mut out = format!("{} {}{aliases} {}\n\n", self.level.name().to_uppercase(), self.id, self.change.name());
        let mut row = |name: &str, text: &str| {
            if !text.is_empty() {
                // Writing to a string does not fail.
                let _ = writeln!(out, "{name:<18}{text}");
            }
        };
        row("Source", &self.source);
        row("Subject", &self.subject);
        row("Category", self.category.name());
        row("Since", &when(self.since));
        row("Told of", &when(self.at));
        if self.untold > 0 {
            row("Changes untold", &self.untold.to_string());
        }
        row("What", &self.what);
        row("Effect on calls", &self.effect);
        row("What comes next", &self.next);
        row("When", &self.due.map(when).unwrap_or_default());
        row("What to do", &self.remedy);
        for (place, Attempt { at, what, failure }) in self.attempts.iter().enumerate() {
            let name = if place == 0 { "Last attempts" } else { "" };
            let outcome = failure.as_ref().map_or_else(|| "done".to_owned(), |why| format!("failed: {why}"));
            let _ = writeln!(out, "{name:<18}{} {what}: {outcome}", when(*at));
        }
        for Attachment { command, text } in &self.attachments {
            let _ = writeln!(out, "\n--- callgate {command}\n{}", text.trim_end());
        }
        out
    }

    fn xml(&self) -> String {
        let mut out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<notice xmlns=\"{NAMESPACE}\">\n");
        let mut element = |indent: &str, name: &str, text: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{indent}<{name}>{}</{name}>", escape(text));
        };
        element("  ", "severity", self.level.name());
        element("  ", "id", &self.id);
        for alias in &self.aliases {
            element("  ", "alias", alias);
        }
        element("  ", "subject", &self.subject);
        element("  ", "source", &self.source);
        element("  ", "category", self.category.name());
        element("  ", "change", self.change.name());
        element("  ", "since", &xml_time(self.since));
        element("  ", "at", &xml_time(self.at));
        element("  ", "untold", &self.untold.to_string());
        element("  ", "what", &self.what);
        element("  ", "effect", &self.effect);
        element("  ", "next", &self.next);
        if let Some(due) = self.due {
            element("  ", "due", &xml_time(due));
        }
        element("  ", "remedy", &self.remedy);
        for Attempt { at, what, failure } in &self.attempts {
            out.push_str("  <attempt>\n");
            let mut element = |name: &str, text: &str| {
                let _ = writeln!(out, "    <{name}>{}</{name}>", escape(text));
            };
            element("at", &xml_time(*at));
            element("what", what);
            if let Some(failure) = failure {
                element("failure", failure);
            }
            out.push_str("  </attempt>\n");
        }
        for Attachment { command, text } in &self.attachments {
            let (command, text) = (escape(command.as_str()), escape(text.as_str()));
            let _ = writeln!(
                out,
                "  <attachment>\n    <command>{command}</command>\n    <text>{text}</text>\n  </attachment>"
            );
        }
        out.push_str("</notice>\n");
        out
    }

    fn json(&self) -> serde_json::Value {
        let attempts = self
            .attempts
            .iter()
            .map(|Attempt { at, what, failure }| json!({ "at": xml_time(*at), "what": what, "failure": failure }));
        json!({
            "severity": self.level.name(),
            "id": self.id,
            "aliases": self.aliases,
            "subject": self.subject,
            "source": self.source,
            "category": self.category.name(),
            "change": self.change.name(),
            "since": xml_time(self.since),
            "at": xml_time(self.at),
            "untold": self.untold,
            "what": self.what,
            "effect": self.effect,
            "next": self.next,
            "due": self.due.map(xml_time),
            "remedy": self.remedy,
            "attempts": attempts.collect::<Vec<_>>(),
            "attachments": self.attachments,
        })
    }
}

/// A time as XML Schema and RFC 3339 have it; what lies beyond the year 9999 is its end.
fn xml_time(at: UnixMillis) -> String {
    let text = iso(at);
    if text.is_empty() { "9999-12-31T23:59:59Z".to_owned() } else { text }
}
