//! From layers to a configuration.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::{Table, Value};

use super::layers::Layers;
use super::problem::{Origin, Problem, Problems};
use super::secret::Secrets;
use super::validate::{Origins, Validation};
use super::{Address, Config};
use crate::license::{BuiltinProfile, Profile};
use crate::shell::license::overrides::Overrides;

/// The key of the state directory.
pub(super) const DATA_DIR: [&str; 2] = ["node", "data_dir"];

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the process was started with, as far as the configuration reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The host's name.
    pub host_name: String,
}

impl Inputs {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |bytes: std::ffi::OsString| bytes.into_string().ok();
        Self {
            environment: std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect(),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// The state directory when nobody names one: the first of `$STATE_DIRECTORY` (which systemd sets),
    /// `$XDG_STATE_HOME/callgate` and `$HOME/.local/state/callgate`. The same for root, so that it never surprises.
    #[must_use]
    pub fn state_directory(&self) -> Option<PathBuf> {
        let absolute = |name: &str| {
            let path = PathBuf::from(self.environment.get(name)?);
            path.is_absolute().then_some(path)
        };
        let systemd =
            self.environment.get("STATE_DIRECTORY").and_then(|list| list.split(':').next()).map(PathBuf::from);
        systemd
            .filter(|path| path.is_absolute())
            .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("callgate")))
            .or_else(|| absolute("HOME").map(|path| path.join(".local/state/callgate")))
    }

    /// Where the copy of the evaluation account is kept that doesn't depend on the state directory: one for all sidecars
    /// of this user. `$XDG_STATE_HOME/callgate-evaluation`, else `$HOME/.local/state/callgate-evaluation`.
    #[must_use]
    pub fn evaluation_directory(&self) -> Option<PathBuf> {
        let absolute = |name: &str| self.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        state.map(|dir| dir.join("callgate-evaluation"))
    }

    /// The host's name as a node's name: other characters become `-`.
    fn node_name(&self) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let name: String = self.host_name.chars().take(64).map(|c| if allowed(c) { c } else { '-' }).collect();
        if name.is_empty() { "callgate".to_owned() } else { name }
    }
}

/// One flag that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag as the operator knows it, such as `--set`.
    pub flag: String,
    /// The key.
    pub key: String,
    /// The value's text.
    pub value: String,
}

/// Reads a configuration, and reads it again for a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loader {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// Environment and host.
    pub inputs: Inputs,
    /// Flags, in their order.
    pub flags: Vec<FlagValue>,
}

/// A configuration, and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed values. Valid as a whole.
    pub config: Config,
    /// What the files of secrets hold.
    pub secrets: Secrets,
    /// What deserves a look, without being wrong.
    pub warnings: Vec<String>,
    /// Where each value that was set came from, by key; what is not in it is a default.
    pub origins: BTreeMap<Vec<String>, Origin>,
    /// What read it, for a reload.
    pub loader: Loader,
}

/// What a configuration says of the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDirectory {
    /// This one; nothing that was looked at is wrong.
    Named(PathBuf),
    /// This one, although other things are wrong.
    Despite(PathBuf, Problems),
    /// Nothing; but things are wrong, and one of them may be the line that names it.
    Hidden(Problems),
}

impl Loader {
    /// Reads all layers and checks the whole.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Loaded, Problems> {
        self.assemble(self.layers())
    }

    /// The state directory that this configuration names, without a look at its other values or at its secrets: enough
    /// to find a running sidecar, also while the file is wrong elsewhere.
    ///
    /// # Errors
    /// If the named file can't be read, or no directory is named anywhere.
    pub fn state_directory(&self) -> Result<StateDirectory, Problems> {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            // A mistyped name of a file must not lead to somebody else's sidecar.
            layers.file(path.clone(), &read(path).map_err(|problem| Problems(vec![*problem]))?);
        }
        self.upper_layers(&mut layers);
        let Layers { leaves, problems } = layers;
        let named = leaves.contains_key(DATA_DIR.map(str::to_owned).as_slice());
        match self.data_dir(&leaves) {
            _ if !named && !problems.is_empty() => Ok(StateDirectory::Hidden(sorted(problems))),
            Some(directory) if problems.is_empty() => Ok(StateDirectory::Named(directory)),
            Some(directory) => Ok(StateDirectory::Despite(directory, sorted(problems))),
            None => Err(Problems(vec![no_state_directory()])),
        }
    }

    fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            match read(path) {
                Ok(text) => layers.file(path.clone(), &text),
                Err(problem) => layers.problems.push(*problem),
            }
        }
        self.upper_layers(&mut layers);
        layers
    }

    /// The environment and the flags, which lie over the file.
    fn upper_layers(&self, layers: &mut Layers) {
        layers.environment(&self.inputs.environment);
        for flag in &self.flags {
            layers.flag(&flag.flag, &flag.key, &flag.value);
        }
    }

    /// Checks a text as if it were a file, under the same environment and flags.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_text(&self, path: &Path, text: &str) -> Result<Loaded, Problems> {
        let mut layers = Layers::default();
        layers.file(path.to_owned(), text);
        self.upper_layers(&mut layers);
        self.assemble(layers)
    }

    fn assemble(&self, mut layers: Layers) -> Result<Loaded, Problems> {
        let data_dir = self.data_dir(&layers.leaves);
        let (overrides, unused) = data_dir.as_deref().map(Overrides::read).unwrap_or_default();
        layers.overrides(&overrides);
        let Layers { leaves, mut problems } = layers;
        if data_dir.is_none() {
            problems.push(no_state_directory());
        }
        let data_dir = data_dir.unwrap_or_default();
        let (profile_name, profile) = match profile(&leaves) {
            Ok(found) => found,
            Err(problem) => {
                problems.push(*problem);
                (super::OPEN.to_owned(), super::open_profile())
            }
        };
        let defaults = Config::defaults_under(Arc::clone(&profile), &profile_name, &self.inputs.node_name(), &data_dir);
        let mut tree = match Value::try_from(defaults) {
            Ok(Value::Table(tree)) => tree,
            Ok(_) | Err(_) => Table::new(),
        };
        let mut origins = Origins::new();
        for (path, (value, origin)) in leaves {
            put(&mut tree, &path, value);
            origins.insert(path, origin);
        }
        let mut config = match Config::deserialize(Value::Table(tree)) {
            Ok(config) => config,
            Err(error) => {
                // Every value was checked against its key, so this is a value that only the whole could refuse.
                problems.push(Problem {
                    origin: self
                        .file
                        .as_ref()
                        .map_or(Origin::Default, |path| Origin::File { path: path.clone().into(), line: 0 }),
                    key: "(the whole)".to_owned(),
                    found: error.message().to_owned(),
                    accepted: "the form that `callgate config default` prints".to_owned(),
                    hint: None,
                });
                return Err(sorted(problems));
            }
        };
        config.profile = profile;
        let directory = config.node.data_dir.clone();
        for list in [&mut config.listen.resp, &mut config.listen.datagram] {
            *list = std::mem::take(list).into_iter().map(|address: Address| address.within(&directory)).collect();
        }
        let mut validation =
            Validation { config: &config, origins: &origins, problems, warnings: unused.into_iter().collect() };
        let secrets = validation.run();
        let Validation { problems, warnings, .. } = validation;
        if problems.is_empty() {
            Ok(Loaded { config, secrets, warnings, origins, loader: self.clone() })
        } else {
            Err(sorted(problems))
        }
    }

    /// The state directory, absolute: the configured one, else the default.
    fn data_dir(&self, leaves: &BTreeMap<Vec<String>, (Value, Origin)>) -> Option<PathBuf> {
        let configured = leaves.get(DATA_DIR.map(str::to_owned).as_slice());
        let path = match configured.and_then(|(value, _)| value.as_str()) {
            Some(path) => PathBuf::from(path),
            None => self.inputs.state_directory()?,
        };
        Some(std::path::absolute(&path).unwrap_or(path))
    }
}

fn no_state_directory() -> Problem {
    Problem {
        origin: Origin::Default,
        key: "node.data_dir".to_owned(),
        found: "neither STATE_DIRECTORY nor XDG_STATE_HOME nor HOME in the environment".to_owned(),
        accepted: "a state directory: --data-dir DIR, or data_dir under [node]".to_owned(),
        hint: None,
    }
}

/// The profile that `license.profile` names, and the name.
fn profile(leaves: &BTreeMap<Vec<String>, (Value, Origin)>) -> Result<(String, Arc<Profile>), Box<Problem>> {
    let set = leaves.get(["license".to_owned(), "profile".to_owned()].as_slice());
    let Some((name, origin)) = set.and_then(|(value, origin)| Some((value.as_str()?, origin))) else {
        return Ok((super::OPEN.to_owned(), super::open_profile()));
    };
    let refuse = |found: String| {
        Box::new(Problem {
            origin: origin.clone(),
            key: "license.profile".to_owned(),
            found,
            accepted: "a profile file with the keys of the shipped ones".to_owned(),
            hint: None,
        })
    };
    let profile = match BuiltinProfile::from_name(name) {
        Some(builtin) => Profile::builtin(builtin),
        None => {
            let text = read_text(Path::new(name)).map_err(|found| refuse(format!("\"{name}\": {found}")))?;
            Profile::parse(&text, name)
        }
    };
    profile.map(|profile| (name.to_owned(), Arc::new(profile))).map_err(|error| refuse(error.to_string()))
}

/// Puts a value at its path. Numbers in a path count the entries of a list.
fn put(tree: &mut Table, path: &[String], value: Value) {
    put_below(tree, path, 0, value);
}

/// The same, in the table that the first `depth` names lead to.
fn put_below(tree: &mut Table, path: &[String], depth: usize, value: Value) {
    let (head, rest) = path.split_at(depth.min(path.len()));
    match rest {
        [] => {}
        [last] => {
            tree.insert(last.clone(), value);
        }
        [list, place, _, ..] if super::schema::is_list_of_tables(path.get(..=head.len()).unwrap_or_default()) => {
            let Value::Array(entries) = tree.entry(list.clone()).or_insert_with(|| Value::Array(Vec::new())) else {
                return;
            };
            let place: usize = place.parse().unwrap_or(0);
            while entries.len() <= place {
                entries.push(Value::Table(Table::new()));
            }
            if let Some(Value::Table(entry)) = entries.get_mut(place) {
                put_below(entry, path, depth + 2, value);
            }
        }
        [first, ..] => {
            let slot = tree.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !slot.is_table() {
                *slot = Value::Table(Table::new());
            }
            if let Value::Table(inner) = slot {
                put_below(inner, path, depth + 1, value);
            }
        }
    }
}

fn sorted(mut problems: Vec<Problem>) -> Problems {
    problems.sort();
    problems.dedup();
    Problems(problems)
}

fn read(path: &Path) -> Result<String, Box<Problem>> {
    read_text(path).map_err(|found| {
        Box::new(Problem {
            origin: Origin::File { path: path.to_owned().into(), line: 0 },
            key: "(the file)".to_owned(),
            found,
            accepted: "a readable TOML file of at most 4MiB".to_owned(),
            hint: Some("`callgate config default` prints one to start from".to_owned()),
        })
    })
}

/// A file's text, or why there is none.
fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("more than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "bytes that are not UTF-8".to_owned())
}
