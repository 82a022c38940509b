//! Policy, tags, machines, and what was.

use std::io::{BufRead, Write};

use serde_json::{Map, Value, json};

use super::client::{ManagerClient, encoded};
use super::further::{HistoryCommand, MachineCommand, OverageArgs, PolicyArgs, PolicyCommand, TagCommand};
use super::{DAY_MS, Failure, Format, Work, account_id, instance_path, printable, show, with_account};

impl<I: BufRead, O: Write> Work<'_, I, O> {
    pub(super) fn policy(&mut self, command: PolicyCommand) -> Result<(), Failure> {
        match command {
            PolicyCommand::Show(reach) => {
                let account = self.connect(&reach)?.get("/v1/account")?;
                self.say(&account, show::account)
            }
            PolicyCommand::Set(args) => {
                let client = self.connect(&args.reach)?;
                let patch = patch(&client, args)?;
                if patch.is_empty() {
                    return Err(Failure::Refused("nothing was changed: name what to change, see --help".to_owned()));
                }
                let account = client.patch("/v1/account", &Value::Object(patch))?;
                self.say(&account, show::account)
            }
        }
    }

    pub(super) fn tag(&mut self, command: TagCommand) -> Result<(), Failure> {
        match command {
            TagCommand::Define { reach, tag, name, description, hard, family, level, overage } => {
                let tier = family.zip(level).map(|(family, level)| json!({ "family": family, "level": level }));
                let body = json!({
                    "tag": tag,
                    "display_name": name.unwrap_or_else(|| tag.clone()),
                    "description": description,
                    "class": if hard { "hard" } else { "license" },
                    "tier": tier,
                    "overage": overage_of(&overage, &Value::Null)?,
                });
                let tag = self.connect(&reach)?.post("/v1/tags", Some(&body))?;
                self.say(&tag, |tag, _| show::tags(std::slice::from_ref(tag)))
            }
            TagCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/tags", |tags, _| show::tags(tags))
            }
            TagCommand::Remove { reach, tag } => {
                let done = self.connect(&reach)?.delete(&format!("/v1/tags/{}", encoded(&tag)))?;
                self.say(&done, |_, _| "Removed.\n".to_owned())
            }
        }
    }

    pub(super) fn machine(&mut self, command: MachineCommand) -> Result<(), Failure> {
        let MachineCommand::Allow { reach, fingerprint, cancel } = command;
        let body = json!({ "fingerprint": fingerprint, "allow": !cancel });
        let done = self.connect(&reach)?.post("/v1/machines", Some(&body))?;
        let said = if cancel { "Further identities are asked for again.\n" } else { "Allowed.\n" };
        self.say(&done, |_, _| said.to_owned())
    }

    pub(super) fn history(&mut self, command: HistoryCommand) -> Result<(), Failure> {
        match command {
            HistoryCommand::Usage { listed, instance, tag, days, daily, limit, after } => {
                let client = self.connect(&listed.reach)?;
                let kind = if daily { "/v1/usage/daily" } else { "/v1/usage" };
                let mut path = with_account(&client, &format!("{kind}?limit={limit}"), &listed)?;
                for (name, value) in [("instance", instance), ("tag", tag), ("cursor", after)] {
                    if let Some(value) = value {
                        path.push_str(&format!("&{name}={}", encoded(&value)));
                    }
                }
                if let Some(days) = days {
                    let span = u64::from(days).saturating_mul(DAY_MS);
                    path.push_str(&format!("&from={}", self.now.0.saturating_sub(span)));
                }
                let found = client.get(&path)?;
                let next = found.get("next").and_then(Value::as_str).map(str::to_owned);
                self.lines(found)?;
                match next.filter(|_| self.format == Format::Text) {
                    Some(next) => Ok(writeln!(self.out, "More: --after {}", printable(&next))?),
                    None => Ok(()),
                }
            }
            HistoryCommand::Pools { listed, tag, days, by } => {
                let client = self.connect(&listed.reach)?;
                let mut path = with_account(&client, &format!("/v1/usage/pools?by={}", by.name()), &listed)?;
                if let Some(tag) = tag {
                    path.push_str(&format!("&tag={}", encoded(&tag)));
                }
                if let Some(days) = days {
                    let span = u64::from(days).saturating_mul(DAY_MS);
                    path.push_str(&format!("&from={}", self.now.0.saturating_sub(span)));
                }
                let names = show::names(&client.list("/v1/virtual-accounts")?);
                self.list(&client, &path, |pools, _| show::usage_of_pools(pools, &names))
            }
            HistoryCommand::Events { reach, instance } => {
                self.journal(&reach, &format!("{}/events", instance_path(&instance)))
            }
            HistoryCommand::Transfers(reach) => self.journal(&reach, "/v1/transfers"),
            HistoryCommand::Alerts(reach) => self.journal(&reach, "/v1/alerts/ended"),
        }
    }

    fn journal(&mut self, reach: &super::Reach, path: &str) -> Result<(), Failure> {
        let items = self.connect(reach)?.list(path)?;
        self.lines(json!({ "items": items }))
    }

    /// Rows of a journal: a table of whatever members they have.
    fn lines(&mut self, found: Value) -> Result<(), Failure> {
        match self.format {
            Format::Json => Ok(writeln!(self.out, "{found}")?),
            Format::Text => {
                let items = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                Ok(write!(self.out, "{}", show::members(items))?)
            }
        }
    }
}

fn patch(client: &ManagerClient, args: PolicyArgs) -> Result<Map<String, Value>, Failure> {
    let account = args.default_account.map(|account| account_id(client, &account)).transpose()?;
    let wanted =
        args.overage.overage.is_some() || args.overage.tolerance_minutes.is_some() || args.overage.billed.is_some();
    let overage = if wanted {
        // It changes as a whole: what is left out is as it was.
        let present = client.get("/v1/account")?.get("overage").cloned().unwrap_or_default();
        overage_of(&args.overage, &present)?
    } else {
        Value::Null
    };
    let products = (args.any_product || !args.products.is_empty()).then_some(args.products);
    let all = json!({
        "name": args.name,
        "default_virtual_account": account,
        "ooc_scope": args.ooc_scope,
        "overage": overage,
        "eval_policy": args.eval_policy,
        "export_permitted": args.export_permitted,
        "reservation_allowed": args.reservation_allowed,
        "products": products,
        "token_days": args.token_days,
        "report_days": args.report_days,
    });
    let Value::Object(all) = all else { return Ok(Map::new()) };
    Ok(all.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

/// An overage policy: what is named, over what is there. Null if neither is.
fn overage_of(args: &OverageArgs, present: &Value) -> Result<Value, Failure> {
    let strategy = match args.overage.as_deref() {
        Some(word @ ("allow" | "deny")) => Some(Value::from(word)),
        Some(text) => {
            let percent = text.trim_end_matches('%').parse::<u16>().ok().filter(|percent| (1..=1000).contains(percent));
            let wrong = || format!("--overage: found {text:?}; accepted: allow, deny, or 1 to 1000 percent");
            Some(json!({ "percentage": percent.ok_or_else(|| Failure::Refused(wrong()))? }))
        }
        None => present.get("overage_strategy").cloned(),
    };
    let Some(strategy) = strategy else {
        if args.tolerance_minutes.is_none() && args.billed.is_none() {
            return Ok(Value::Null);
        }
        return Err(Failure::Refused("--tolerance-minutes and --billed need --overage".to_owned()));
    };
    let was = |name: &str| present.get(name).cloned();
    Ok(json!({
        "overage_strategy": strategy,
        "tolerance_minutes": args.tolerance_minutes.map(Value::from).or_else(|| was("tolerance_minutes")).unwrap_or_else(|| 0.into()),
        "billed": args.billed.map(Value::from).or_else(|| was("billed")).unwrap_or_else(|| false.into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_overage_leaves_out_is_as_it_was() {
        let args = |overage: Option<&str>, minutes| OverageArgs {
            overage: overage.map(str::to_owned),
            tolerance_minutes: minutes,
            billed: None,
        };
        let present = json!({ "overage_strategy": "deny", "tolerance_minutes": 5, "billed": true });
        assert_eq!(
            overage_of(&args(Some("10%"), None), &present).unwrap_or_default(),
            json!({ "overage_strategy": { "percentage": 10 }, "tolerance_minutes": 5, "billed": true })
        );
        assert_eq!(
            overage_of(&args(None, Some(7)), &present).unwrap_or_default(),
            json!({ "overage_strategy": "deny", "tolerance_minutes": 7, "billed": true })
        );
        assert!(overage_of(&args(Some("0"), None), &present).is_err());
        assert!(overage_of(&args(None, Some(7)), &Value::Null).is_err());
        assert!(overage_of(&args(None, None), &Value::Null).is_ok_and(|overage| overage.is_null()));
    }
}
