//! Purchases: entered, listed, taken back, moved.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

use super::client::{ManagerClient, encoded};
use super::{DAY_MS, Failure, Format, PoolCommand, Reach, Work, account_id, hints, printable, show, with_account};

impl<I: BufRead, O: Write> Work<'_, I, O> {
    pub(super) fn pool(&mut self, command: PoolCommand) -> Result<(), Failure> {
        match command {
            PoolCommand::Add { reach, tag, quantity, account, days, note } => {
                let client = self.connect(&reach)?;
                let account = account.map(|account| account_id(&client, &account)).transpose()?;
                let end = days.map(|days| self.now.0.saturating_add(u64::from(days).saturating_mul(DAY_MS)));
                let body =
                    json!({ "tag": tag, "quantity": quantity, "virtual_account": account, "end": end, "note": note });
                let known = client.list("/v1/tags")?.iter().any(|known| show::text(known, "tag") == tag);
                let lot = client.post("/v1/lots", Some(&body))?;
                let hint = hints::of_tag(&tag, known).map(|hint| printable(&hint) + "\n").unwrap_or_default();
                self.say(&lot, |lot, now| format!("Added:\n{}{hint}", show::lots(std::slice::from_ref(lot), now)))
            }
            PoolCommand::List(listed) => {
                let client = self.connect(&listed.reach)?;
                let names = show::names(&client.list("/v1/virtual-accounts")?);
                let path = with_account(&client, "/v1/licenses", &listed)?;
                self.list(&client, &path, |pools, now| show::pools(pools, &names, now))
            }
            PoolCommand::Lots(listed) => {
                let client = self.connect(&listed.reach)?;
                let path = with_account(&client, "/v1/lots", &listed)?;
                self.list(&client, &path, show::lots)
            }
            PoolCommand::Remove { reach, yes, lot } => self.take_back(&reach, yes, &lot),
            PoolCommand::Transfer { reach, lot, quantity, to } => {
                let client = self.connect(&reach)?;
                let body = json!({ "to": account_id(&client, &to)?, "quantity": quantity });
                let lot = client.post(&format!("/v1/lots/{}/transfer", encoded(&lot)), Some(&body))?;
                self.say(&lot, |lot, now| {
                    format!("Transferred; there it is:\n{}", show::lots(std::slice::from_ref(lot), now))
                })
            }
        }
    }

    /// Says first what that does to product instances, and asks.
    fn take_back(&mut self, reach: &Reach, yes: bool, lot: &str) -> Result<(), Failure> {
        let client = self.connect(reach)?;
        // One that isn't there is refused by the manager.
        if let Some(found) = client.list("/v1/lots")?.iter().find(|found| show::text(found, "id") == lot) {
            let taken = Taken::of(&client, found)?;
            if self.format == Format::Text {
                write!(self.out, "{}", show::taken(found, taken.purchased, taken.in_use, &taken.effect()))?;
            }
            if !yes {
                if self.format == Format::Json {
                    let effect = printable(&taken.effect());
                    return Err(Failure::Refused(format!(
                        "nothing was taken back: this must be confirmed with --yes. {effect}"
                    )));
                }
                if !self.consent("Take it back?")? {
                    return Err(Failure::Refused("nothing was taken back".to_owned()));
                }
            }
        }
        let done = client.delete(&format!("/v1/lots/{}", encoded(lot)))?;
        self.say(&done, |_, _| "Taken back.\n".to_owned())
    }
}

/// What the pool is without a purchase.
struct Taken {
    purchased: u64,
    in_use: u64,
    /// What the purchase adds to it now.
    quantity: u64,
    /// Licenses of a higher tier may serve what is short.
    tiered: bool,
    /// Product instances that ask for the tag.
    instances: usize,
}

impl Taken {
    fn of(client: &ManagerClient, lot: &Value) -> Result<Self, Failure> {
        let [account, tag] = ["virtual_account", "tag"].map(|name| show::text(lot, name));
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let pools = client.list(&format!("/v1/licenses?virtual_account={}", encoded(account)))?;
        let pool = pools.iter().find(|pool| show::text(pool, "tag") == tag).unwrap_or(&Value::Null);
        let instances = client.list(&format!("/v1/instances?virtual_account={}", encoded(account)))?;
        let asks = |instance: &&Value| {
            show::entitlements(instance).iter().any(|of| show::text(of, "tag") == tag && number(of, "requested") > 0)
        };
        let active = lot.get("active").and_then(Value::as_bool) == Some(true);
        Ok(Self {
            purchased: number(pool, "purchased"),
            in_use: number(pool, "in_use"),
            quantity: if active { number(lot, "quantity") } else { 0 },
            tiered: pool.get("tier").is_some_and(Value::is_object),
            instances: instances.iter().filter(asks).count(),
        })
    }

    fn effect(&self) -> String {
        let left = self.purchased.saturating_sub(self.quantity);
        let short = self.in_use.saturating_sub(left);
        if self.quantity == 0 {
            return "none now: the purchase doesn't count at this time".to_owned();
        }
        if short == 0 {
            return format!("none: {left} are left, and {} are in use", self.in_use);
        }
        let who = match self.instances {
            1 => "the product instance that asks for it is".to_owned(),
            count => format!("the {count} product instances that ask for it are"),
        };
        let calls = if left == 0 { "no call that needs it is" } else { "fewer calls are" };
        let tiers = if self.tiered { ", unless licenses of a higher tier cover it" } else { "" };
        format!(
            "{short} will be short{tiers}: by the policy {who} told to be out of compliance with the next contact; where \
             overage is not allowed, {calls} admitted from then on"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_a_purchase_back_says_what_will_be_short_and_for_whom() {
        let taken = Taken { purchased: 20, in_use: 10, quantity: 10, tiered: false, instances: 1 };
        assert_eq!(taken.effect(), "none: 10 are left, and 10 are in use");
        let short = Taken { quantity: 15, ..taken };
        assert!(
            short.effect().starts_with("5 will be short: by the policy the product instance that"),
            "{}",
            short.effect()
        );
        assert!(short.effect().ends_with("fewer calls are admitted from then on"), "{}", short.effect());
        let all = Taken { quantity: 20, ..short };
        assert!(all.effect().ends_with("no call that needs it is admitted from then on"), "{}", all.effect());
        let tiered = Taken { tiered: true, instances: 3, ..short };
        let told = tiered.effect();
        assert!(told.contains("of a higher tier cover it: by the policy the 3 product instances"), "{told}");
        let later = Taken { quantity: 0, ..tiered };
        assert!(later.effect().starts_with("none now"), "{}", later.effect());
    }
}
