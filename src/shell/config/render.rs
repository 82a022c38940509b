//! A configuration as TOML that people read: the commented default file, and the effective values with where each came
//! from. Both read back: the first to the defaults, the second to the very configuration that it shows.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::keys::{KEYS, SECTIONS};
use super::problem::Origin;
use super::schema::{Key, Section};
use super::{Config, Loaded};

/// One effective value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownKey {
    /// The key, such as `license.count`.
    pub key: String,
    /// Its value; `None` is not set, which the key's documentation explains.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// The commented default file: every key with its meaning, unit and default. The same on every host.
#[must_use]
pub fn default_file() -> String {
    let tree = tree_of(&Config::defaults("sip-a", Path::new("/var/lib/callgate")));
    let mut out = String::from(DEFAULT_HEAD);
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        match section.path {
            "admission.status.*" => statuses(&mut out, &tree),
            _ if section.path.contains(['*', '#']) => example(&mut out, section),
            _ => {
                let table = table_at(&tree, section.path);
                let _ = writeln!(out, "[{}]", section.path);
                for (key, name) in keys_of(section) {
                    default_key(&mut out, key, name, table.and_then(|table| value_at(table, name)));
                }
            }
        }
    }
    out
}

const DEFAULT_HEAD: &str = "\
# callgate: every key, with its meaning, unit and default. Delete what you leave at its default, or keep it as it is.
#
# `callgate config check --config FILE` says what is wrong with a file, `callgate config show --config FILE` what is in
# force and where each value came from. Environment variables lie over the file, flags over both:
#     CALLGATE_LICENSE__COUNT=200 callgate serve --config FILE --set telemetry.log_level=debug
# SIGHUP and `callgate reload` read it again; what needs a restart is refused then, and says so.
# Times are seconds (300) or texts (\"300s\", \"12h 1m\"), sizes bytes or texts (\"64MiB\"). A relative path lies beside
# the file that names it.
";

/// The widest line of prose.
const WIDTH: usize = 118;

fn comment(out: &mut String, doc: &str) {
    for line in doc.lines() {
        let mut rest = line;
        while !rest.is_empty() {
            let cut = if rest.len() <= WIDTH {
                rest.len()
            } else {
                rest.get(..WIDTH).and_then(|head| head.rfind(' ')).unwrap_or(rest.len())
            };
            let (head, tail) = rest.split_at(cut);
            let _ = writeln!(out, "# {head}");
            rest = tail.trim_start();
        }
    }
}

fn default_key(out: &mut String, key: &Key, name: &str, value: Option<&Value>) {
    if key.doc.is_empty() {
        return;
    }
    comment(out, key.doc);
    match value {
        // A default that depends on the host or the profile is shown, but not set.
        Some(value) if key.example.is_empty() => {
            let value = if key.path == "listen.resp" { portable_addresses(value) } else { value.clone() };
            let _ = writeln!(out, "{name} = {}", value);
        }
        Some(_) | None => {
            let _ = writeln!(out, "# {name} = {}", key.example);
        }
    }
}

/// The default socket lies in the state directory, wherever that is.
fn portable_addresses(value: &Value) -> Value {
    let portable = |address: &Value| match address.as_str() {
        Some(text) if text.starts_with("unix:") => Value::from(format!("unix:{}", super::RESP_SOCKET)),
        _ => address.clone(),
    };
    Value::Array(value.as_array().map(|list| list.iter().map(portable).collect()).unwrap_or_default())
}

fn statuses(out: &mut String, tree: &Table) {
    let _ = writeln!(out, "[admission.status]");
    for cause in super::refusing_causes() {
        if let Some(line) = status_line(tree, cause.name()) {
            let _ = writeln!(out, "{line}");
        }
    }
}

fn example(out: &mut String, section: &Section) {
    let header = match section.path.strip_suffix(".#") {
        Some(list) => format!("[[{list}]]"),
        None if section.path.starts_with("cluster.") => format!("[{}]", section.path.replace('*', "sip-b")),
        None => format!("[{}]", section.path.replace('*', "premium")),
    };
    let _ = writeln!(out, "# {header}");
    for (key, name) in keys_of(section) {
        let doc = key.doc.replace('\n', " ");
        let _ = writeln!(out, "# {:<28} # {doc}", format!("{name} = {}", key.example));
    }
}

impl Loaded {
    /// Every effective value and where it came from, in the order of the default file.
    #[must_use]
    pub fn shown(&self) -> Vec<ShownKey> {
        let tree = tree_of(&self.config);
        let mut shown = Vec::new();
        for section in SECTIONS {
            for (path, table) in tables(&tree, section.path) {
                shown.extend(self.section(section, &path, table));
            }
        }
        shown
    }

    fn section(&self, section: &Section, path: &[String], table: &Table) -> Vec<ShownKey> {
        let mut shown = Vec::new();
        for (key, name) in keys_of(section) {
            let value = value_at(table, name);
            if value.is_some_and(Value::is_table) || (value.is_none() && (key.doc.is_empty() || name.contains('.'))) {
                continue;
            }
            let path: Vec<String> = path.iter().cloned().chain(name.split('.').map(str::to_owned)).collect();
            let origin = self.origins.get(&path).cloned().unwrap_or(Origin::Default);
            shown.push(ShownKey { key: path.join("."), value: value.cloned(), origin });
        }
        shown
    }

    /// The same as TOML, with the origins as comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let tree = tree_of(&self.config);
        let mut out = String::new();
        for section in SECTIONS {
            if section.path == "admission.status.*" {
                self.statuses(&mut out, &tree);
                continue;
            }
            for (path, table) in tables(&tree, section.path) {
                if !out.is_empty() {
                    out.push('\n');
                }
                let _ = match section.path.strip_suffix(".#") {
                    Some(list) => writeln!(out, "[[{list}]]"),
                    None => writeln!(out, "[{}]", path.iter().map(|name| bare(name)).collect::<Vec<_>>().join(".")),
                };
                for shown in self.section(section, &path, table) {
                    let name = shown.key.strip_prefix(&format!("{}.", path.join("."))).unwrap_or(&shown.key);
                    let _ = match &shown.value {
                        Some(value) => writeln!(out, "{:<48} # {}", format!("{name} = {value}"), shown.origin),
                        None => writeln!(out, "# {name} is not set"),
                    };
                }
            }
        }
        out
    }
}

impl Loaded {
    /// One line for each cause: there are many, and their fields are few.
    fn statuses(&self, out: &mut String, tree: &Table) {
        let _ = writeln!(out, "\n[admission.status]");
        for cause in super::refusing_causes() {
            let at = |field: &str| ["admission", "status", cause.name(), field].map(str::to_owned).to_vec();
            let set = STATUS_FIELDS.iter().filter_map(|field| self.origins.get(&at(field)));
            let mut origins: Vec<String> = set.map(ToString::to_string).collect();
            origins.dedup();
            let origin = if origins.is_empty() { Origin::Default.to_string() } else { origins.join(", ") };
            if let Some(line) = status_line(tree, cause.name()) {
                let _ = writeln!(out, "{line:<84} # {origin}");
            }
        }
    }
}

const STATUS_FIELDS: [&str; 3] = ["sip_status", "retry_after", "spread"];

/// `cps = { sip_status = 503, ... }`.
fn status_line(tree: &Table, cause: &str) -> Option<String> {
    let status = table_at(tree, "admission.status")?.get(cause)?;
    let field = |name: &&str| status.get(name).map(|value| format!("{name} = {value}"));
    let fields: Vec<String> = STATUS_FIELDS.iter().filter_map(field).collect();
    Some(format!("{cause} = {{ {} }}", fields.join(", ")))
}

/// The tree that a configuration serializes to.
pub(super) fn tree_of(config: &Config) -> Table {
    match Value::try_from(config) {
        Ok(Value::Table(tree)) => tree,
        // A struct serializes to a table; a test would see it if it ever didn't.
        Ok(_) | Err(_) => Table::new(),
    }
}

/// The keys that stand in this section, not in one below it, with their names there.
fn keys_of(section: &Section) -> impl Iterator<Item = (&'static Key, &'static str)> {
    let path = section.path;
    KEYS.iter().filter_map(move |key| {
        let name = key.path.strip_prefix(path)?.strip_prefix('.')?;
        let deeper = |other: &Section| {
            other.path.len() > path.len() && key.path.strip_prefix(other.path).is_some_and(|rest| rest.starts_with('.'))
        };
        (!SECTIONS.iter().any(deeper)).then_some((key, name))
    })
}

fn table_at<'a>(tree: &'a Table, path: &str) -> Option<&'a Table> {
    path.split('.').try_fold(tree, |table, name| table.get(name)?.as_table())
}

fn value_at<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    let (parents, last) = name.rsplit_once('.').map_or((None, name), |(parents, last)| (Some(parents), last));
    parents.map_or(Some(table), |parents| table_at(table, parents))?.get(last)
}

/// The tables of a section that are there: one, or one for each name or entry.
fn tables<'a>(tree: &'a Table, pattern: &str) -> Vec<(Vec<String>, &'a Table)> {
    let split = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let below = |parent: &str, name: String| split(parent).into_iter().chain([name]).collect::<Vec<_>>();
    if let Some(list) = pattern.strip_suffix(".#") {
        let entries = value_at(tree, list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let entries = entries.iter().enumerate();
        return entries.filter_map(|(place, of)| Some((below(list, place.to_string()), of.as_table()?))).collect();
    }
    if let Some(parent) = pattern.strip_suffix(".*") {
        let Some(named) = table_at(tree, parent) else { return Vec::new() };
        return named.iter().filter_map(|(name, of)| Some((below(parent, name.clone()), of.as_table()?))).collect();
    }
    table_at(tree, pattern).map(|table| (split(pattern), table)).into_iter().collect()
}

/// A name as a part of a header: in quotes where TOML wants them.
fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}
