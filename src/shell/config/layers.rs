//! The layers under a configuration: a file, the environment, flags. Each becomes a flat list of checked values that know
//! where they came from; the later layer wins, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::check::{check, from_text, one_of};
use super::keys::GROUPS_MAX;
use super::load::DATA_DIR;
use super::problem::{Origin, Problem, shortened, shown};
use super::schema;
use super::sections::refusing_causes;
use crate::shell::license::overrides::Overrides;

/// The prefix of every environment variable that sets a key.
const ENVIRONMENT_PREFIX: &str = "CALLGATE_";

/// What the layers say, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) leaves: BTreeMap<Vec<String>, (Value, Origin)>,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// Lays a file's text over what is there.
    pub(super) fn file(&mut self, path: PathBuf, text: &str) {
        let lines = Lines::of(Arc::new(path), text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.lines().nth(lines.number(at).saturating_sub(1)).unwrap_or_default();
            self.problems.push(Problem {
                origin: lines.origin(at),
                key: String::new(),
                found: shortened(line.trim()),
                accepted: format!("TOML ({})", error.message().replace('\n', "; ")),
                hint: None,
            });
        }
        if self.problems.is_empty() {
            self.table(&mut Vec::new(), table.get_ref(), &lines);
        } else {
            self.state_directory(table.get_ref(), &lines);
        }
    }

    /// Of a file that is no TOML, what can be read of its state directory: enough to ask the sidecar that runs there.
    fn state_directory(&mut self, table: &DeTable<'_>, lines: &Lines) {
        let [section, name] = DATA_DIR;
        let Some(DeValue::Table(node)) = table.get(section).map(|value| value.get_ref()) else { return };
        let Some((key, value)) = node.get_key_value(name) else { return };
        let value = owned(value.get_ref());
        if value.is_str() {
            self.leaf(&DATA_DIR.map(str::to_owned), &value, lines.origin(key.span().start));
        }
    }

    /// Lays one list of tables of a file over what is there: `path`'s last name within `parent`, a table of that file.
    pub(super) fn list_in_file(&mut self, file: &Path, text: &str, path: [&str; 2], parent: &DeTable<'_>) {
        let lines = Lines::of(Arc::new(file.to_owned()), text);
        let mut path = path.map(str::to_owned).to_vec();
        let name = path.last().cloned().unwrap_or_default();
        if let Some((key, value)) = parent.get_key_value(name.as_str()) {
            self.value(&mut path, value.get_ref(), &lines.origin(key.span().start), &lines);
        }
    }

    /// Lays environment variables over what is there. Those without `__` are not ours: Kubernetes makes such names too.
    pub(super) fn environment(&mut self, environment: &BTreeMap<String, String>) {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX).filter(|name| name.contains("__")) else {
                continue;
            };
            let mut path: Vec<String> = name.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            if let [section, table, cause, ..] = path.as_mut_slice()
                && section == "admission"
                && table == "status"
            {
                *cause = cause.replace('_', "-");
            }
            self.text(path, text, Origin::Environment { variable: variable.clone() });
        }
    }

    /// Lays one flag over what is there: its name, a key and a value.
    pub(super) fn flag(&mut self, flag: &str, key: &str, text: &str) {
        let path = key.split('.').map(str::to_owned).collect();
        self.text(path, text, Origin::Flag { flag: flag.to_owned() });
    }

    /// Lays what an operator changed by command over what is there.
    pub(super) fn overrides(&mut self, overrides: &Overrides) {
        let Overrides { enabled, count, sessions } = overrides;
        let values = [
            ("enabled", enabled.map(|enabled| enabled.to_string())),
            ("count", count.map(|count| count.to_string())),
            ("sessions", sessions.map(|sessions| sessions.to_string())),
        ];
        for (name, value) in values {
            if let Some(text) = value {
                self.text(vec!["license".to_owned(), name.to_owned()], &text, Origin::Override);
            }
        }
    }

    fn text(&mut self, path: Vec<String>, text: &str, origin: Origin) {
        if let Some(list) = schema::list_of_tables_within(&path) {
            self.problems.push(Problem {
                origin,
                key: path.join("."),
                found: "an entry of a list".to_owned(),
                accepted: format!("[[{}]] entries in the configuration file", list.join(".")),
                hint: None,
            });
            return;
        }
        match schema::find(&path) {
            Some(key) => {
                let value = from_text(key.kind, text);
                self.leaf(&path, &value, origin);
            }
            None => self.unknown(&path, origin),
        }
    }

    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>, lines: &Lines) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            self.value(path, value.get_ref(), &lines.origin(name.span().start), lines);
            path.pop();
        }
    }

    fn value(&mut self, path: &mut Vec<String>, value: &DeValue<'_>, origin: &Origin, lines: &Lines) {
        let is_key = schema::find(path).is_some();
        if !is_key && !schema::leads_somewhere(path) {
            return self.unknown(path, origin.clone());
        }
        match value {
            DeValue::Array(list) if schema::is_list_of_tables(path) => {
                self.list_of_tables(path, list, origin, lines);
            }
            DeValue::Table(_) if schema::is_list_of_tables(path) => {
                let accepted = format!("[[{}]] in double brackets, once for each", path.join("."));
                self.problem(path, origin, "a single table".to_owned(), accepted);
            }
            // `rate_policy = { burst = 20 }` is a key and a table both.
            DeValue::Table(inner) if !is_key || path.last().is_some_and(|name| name == "rate_policy") => {
                if inner.is_empty()
                    && let ["license", "types" | "ports", _] | ["cluster", "peers", _] =
                        path.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
                {
                    // A type, a port or a peer without any key of its own exists all the same.
                    self.leaves.insert(path.clone(), (Value::Table(toml::Table::new()), origin.clone()));
                }
                self.table(path, inner, lines);
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                let value = owned(value);
                if is_key {
                    self.leaf(path, &value, origin.clone());
                } else {
                    self.problem(path, origin, shown(&value), format!("a section: [{}]", path.join(".")));
                }
            }
        }
    }

    fn list_of_tables(&mut self, path: &mut Vec<String>, list: &toml::de::DeArray<'_>, origin: &Origin, lines: &Lines) {
        if list.len() > GROUPS_MAX {
            let found = format!("{} entries", list.len());
            return self.problem(path, origin, found, format!("at most {GROUPS_MAX} entries"));
        }
        for (place, entry) in list.iter().enumerate() {
            path.push(place.to_string());
            let origin = lines.origin(entry.span().start);
            if let DeValue::Table(table) = entry.get_ref() {
                // An entry without a name exists all the same, so that its missing name is told at its line.
                let mut name = path.clone();
                name.push("name".to_owned());
                self.leaves.insert(name, (Value::from(""), origin));
                self.table(path, table, lines);
            } else {
                let list = path.split_last().map_or_else(String::new, |(_, list)| list.join("."));
                let accepted = format!("a table: [[{list}]]");
                self.problem(path, &origin, shown(&owned(entry.get_ref())), accepted);
            }
            path.pop();
        }
    }

    fn leaf(&mut self, path: &[String], value: &Value, origin: Origin) {
        if let [section, table, cause, ..] = path
            && section == "admission"
            && table == "status"
            && !refusing_causes().any(|known| known.name() == cause)
        {
            return self.unknown(path.get(..3).unwrap_or(path), origin);
        }
        let Some(key) = schema::find(path) else { return self.unknown(path, origin) };
        // A path is relative to the file that names it, or to where the command was given.
        let directory = match &origin {
            Origin::File { path, .. } => path.parent().map(Path::to_owned).unwrap_or_default(),
            Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } | Origin::Override => PathBuf::new(),
        };
        match check(key.kind, value, &directory) {
            Ok(value) => {
                // `strict` takes the place of `{ burst = 20 }` from the layer below, and the other way round.
                for shorter in 1..path.len() {
                    self.leaves.remove(path.get(..shorter).unwrap_or_default());
                }
                let below = self.leaves.range(path.to_vec()..).map(|(other, _)| other);
                let below: Vec<_> = below.take_while(|other| other.starts_with(path)).cloned().collect();
                for other in &below {
                    self.leaves.remove(other);
                }
                self.leaves.insert(path.to_vec(), (value, origin));
            }
            Err(accepted) => {
                let accepted = match key.path {
                    "admission.rate_policy" => format!("{accepted} or a table such as {{ burst = 20 }}"),
                    _ => accepted,
                };
                self.problem(path, &origin, shown(value), accepted);
            }
        }
    }

    fn unknown(&mut self, path: &[String], origin: Origin) {
        let (found, accepted, hint) = match path {
            [section, table, cause] if section == "admission" && table == "status" => {
                let near = refusing_causes().map(|known| (schema::distance(cause, known.name()), known)).min();
                (
                    format!("an unknown cause, \"{}\"", shortened(cause)),
                    format!("a cause that refuses: {}", one_of(refusing_causes().map(|known| known.name()))),
                    near.filter(|(far, _)| *far <= 1 + cause.len() / 3).map(|(_, known)| known.name().to_owned()),
                )
            }
            _ => (
                "an unknown key".to_owned(),
                "the keys that `callgate config default` prints".to_owned(),
                schema::nearest(path),
            ),
        };
        let problem = Problem {
            origin,
            key: shortened(&path.join(".")),
            found,
            accepted,
            hint: hint.map(|near| format!("did you mean {near}?")),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn problem(&mut self, path: &[String], origin: &Origin, found: String, accepted: String) {
        let key = shortened(&path.join("."));
        self.problems.push(Problem { origin: origin.clone(), key, found, accepted, hint: None });
    }
}

/// Byte offsets to line numbers.
struct Lines {
    path: Arc<PathBuf>,
    starts: Vec<usize>,
}

impl Lines {
    fn of(path: Arc<PathBuf>, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { path, starts: [0].into_iter().chain(ends).collect() }
    }

    fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn origin(&self, at: usize) -> Origin {
        Origin::File { path: Arc::clone(&self.path), line: self.number(at) }
    }
}

/// A value without its spans. Numbers that TOML's 64 bits don't hold become texts, which no numeric key takes.
fn owned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(list) => Value::Array(list.iter().map(|entry| owned(entry.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(name, value)| (name.get_ref().to_string(), owned(value.get_ref()))).collect(),
        ),
    }
}
