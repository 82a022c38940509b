//! What a running sidecar can take over from a new configuration. Everything, or nothing: a change that needs a restart
//! refuses the whole, and the old configuration stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use toml::Value;

use super::Config;
use super::problem::shown;
use super::render::tree_of;
use super::schema::{self, Reload};

/// A configuration that can be put in force without losing a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What is in force from now on.
    pub config: Config,
    /// The keys that differ from the old one; a changed list of trunks or tenants is one key.
    pub keys: Vec<String>,
}

/// A changed key that needs a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedsRestart {
    /// The key.
    pub key: String,
    /// Its value in force.
    pub from: String,
    /// Its new value.
    pub to: String,
    /// Why it cannot change now.
    pub reason: String,
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, reason } = self;
        write!(f, "{key} cannot change from {from} to {to} without a restart: {reason}")
    }
}

/// Why a new configuration was not put in force. The old one stays, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Refused(pub Vec<NeedsRestart>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&reasons.join("\n"))
    }
}

impl std::error::Error for Refused {}

impl Config {
    /// Goes over to another configuration, if that needs no restart.
    ///
    /// # Errors
    /// Every changed key that needs one, with the reason. Nothing has changed then.
    pub fn reload_from(&self, mut new: Self) -> Result<Change, Refused> {
        let (old_values, new_values) = (leaves(self), leaves(&new));
        let mut keys = BTreeSet::new();
        let mut refused = Vec::new();
        let paths: BTreeSet<&Vec<String>> = old_values.keys().chain(new_values.keys()).collect();
        for path in paths {
            let (from, to) = (old_values.get(path), new_values.get(path));
            if from == to {
                continue;
            }
            let reason = match schema::find(path).map(|key| key.reload) {
                Some(Reload::Restart(reason)) => Some(reason.to_owned()),
                Some(Reload::Live) | None => None,
            };
            if let Some(reason) = reason {
                let text = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), shown);
                refused.push(NeedsRestart { key: path.join("."), from: text(from), to: text(to), reason });
            }
            keys.insert(schema::list_of_tables_within(path).unwrap_or(path).join("."));
        }
        refused.extend(self.rate_above_allocation(&new));
        refused.extend(self.irreversible(&new));
        refused.extend(self.license_types_differ(&new));
        if !refused.is_empty() {
            return Err(Refused(refused));
        }
        new.allocated_call_rate = Some(self.allocated_call_rate.unwrap_or(self.node.max_call_rate));
        Ok(Change { config: new, keys: keys.into_iter().collect() })
    }

    fn rate_above_allocation(&self, new: &Self) -> Option<NeedsRestart> {
        let allocated = self.allocated_call_rate.unwrap_or(self.node.max_call_rate);
        (new.node.max_call_rate > allocated).then(|| NeedsRestart {
            key: "node.max_call_rate".to_owned(),
            from: self.node.max_call_rate.get().to_string(),
            to: new.node.max_call_rate.get().to_string(),
            reason: format!("windows for {} calls per second were allocated at start", allocated.get()),
        })
    }

    /// Live calls hold their type by its number: counts can change, the types themselves cannot.
    fn license_types_differ(&self, new: &Self) -> Option<NeedsRestart> {
        let shape = |config: &Self| -> Vec<_> {
            config.policy().license_types.into_iter().map(|of| (of.name, of.tier)).collect()
        };
        let names = |shape: &[(String, Option<crate::admission::Tier>)]| {
            let told = |(name, tier): &(String, Option<crate::admission::Tier>)| match tier {
                Some(tier) => format!("{name} ({} {})", tier.family, tier.rank),
                None => name.clone(),
            };
            shape.iter().map(told).collect::<Vec<_>>().join(", ")
        };
        let (from, to) = (shape(self), shape(new));
        (from != to).then(|| NeedsRestart {
            key: "license.types".to_owned(),
            from: names(&from),
            to: names(&to),
            reason: "live calls hold units of the types that were there at start; their counts can change".to_owned(),
        })
    }

    fn irreversible(&self, new: &Self) -> Option<NeedsRestart> {
        (self.license.enabled && !new.license.enabled && self.profile.irreversible).then(|| NeedsRestart {
            key: "license.enabled".to_owned(),
            from: "true".to_owned(),
            to: "false".to_owned(),
            reason: format!("under the profile {} licensing stays on once it is on", self.license.profile),
        })
    }
}

/// Every value by its path.
pub(super) fn leaves(config: &Config) -> BTreeMap<Vec<String>, Value> {
    fn walk(path: &mut Vec<String>, value: Value, into: &mut BTreeMap<Vec<String>, Value>) {
        match value {
            Value::Table(table) => {
                for (name, value) in table {
                    path.push(name);
                    walk(path, value, into);
                    path.pop();
                }
            }
            Value::Array(list) if schema::is_list_of_tables(path) => {
                for (place, value) in list.into_iter().enumerate() {
                    path.push(place.to_string());
                    walk(path, value, into);
                    path.pop();
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => {
                into.insert(path.clone(), value);
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(&mut Vec::new(), Value::Table(tree_of(config)), &mut into);
    into
}
