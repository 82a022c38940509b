//! Tokens, accounts, users, keys: who and what may come in.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

use super::client::{encoded, secret_line};
use super::{
    AccountCommand, Failure, Format, KeyCommand, ManagerClient, Reach, TokenCommand, UserCommand, Work, account_id,
    hints, printable, show, with_account,
};
use crate::manager::domain::bounds::TOKEN_DAYS;

/// How long a token for these products is good: a policy that somebody set goes first.
fn days_of(client: &ManagerClient, products: &[String]) -> Result<Option<u32>, Failure> {
    let policy = client.get("/v1/account")?.get("token_days").and_then(Value::as_u64);
    Ok(hints::token_days(products).filter(|_| policy == Some(u64::from(TOKEN_DAYS))))
}

impl<I: BufRead, O: Write> Work<'_, I, O> {
    /// A secret that is shown once: alone on standard output, so that it can go into a file; its facts on standard error.
    fn say_secret(&mut self, made: &Value, facts: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => Ok(writeln!(self.out, "{made}")?),
            Format::Text => {
                // Who closed standard error doesn't want them.
                let _ = writeln!(std::io::stderr().lock(), "{facts}");
                Ok(writeln!(self.out, "{}", show::text(made, "secret"))?)
            }
        }
    }

    pub(super) fn token(&mut self, command: TokenCommand) -> Result<(), Failure> {
        match command {
            TokenCommand::Create { reach, account, days, uses, unlimited, no_export, products, networks, note } => {
                let client = self.connect(&reach)?;
                let account = account.map(|account| account_id(&client, &account)).transpose()?;
                let days = match days.map(u32::from) {
                    None if !products.is_empty() => days_of(&client, &products)?,
                    other => other,
                };
                let hint = hints::of_products(&products).map(|hint| printable(&hint) + "\n").unwrap_or_default();
                let body = json!({
                    "virtual_account": account,
                    "days": days,
                    "max_uses": if unlimited { Value::Null } else { uses.into() },
                    "export_allowed": no_export.then_some(false),
                    "products": products,
                    "networks": networks,
                    "note": note,
                });
                let made = client.post("/v1/tokens", Some(&body))?;
                let facts = format!(
                    "{hint}Token {}, valid until {}. It is shown this once:",
                    show::text(&made, "id"),
                    show::time(&made, "expires_at")
                );
                self.say_secret(&made, &facts)
            }
            TokenCommand::List(listed) => {
                let client = self.connect(&listed.reach)?;
                let path = with_account(&client, "/v1/tokens", &listed)?;
                self.list(&client, &path, show::tokens)
            }
            TokenCommand::Revoke { reach, token } => {
                let client = self.connect(&reach)?;
                let token = client.post(&format!("/v1/tokens/{}/revoke", encoded(&token)), None)?;
                self.say(&token, |_, _| "Revoked. What registered with it stays registered.\n".to_owned())
            }
            TokenCommand::Remove { reach, token } => {
                let done = self.connect(&reach)?.delete(&format!("/v1/tokens/{}", encoded(&token)))?;
                self.say(&done, |_, _| "Removed.\n".to_owned())
            }
        }
    }

    pub(super) fn account(&mut self, command: AccountCommand) -> Result<(), Failure> {
        match command {
            AccountCommand::Create { reach, name, description } => {
                let body = json!({ "name": name, "description": description });
                let made = self.connect(&reach)?.post("/v1/virtual-accounts", Some(&body))?;
                self.say(&made, |made, _| show::accounts(std::slice::from_ref(made)))
            }
            AccountCommand::Update { reach, account, name, description } => {
                let client = self.connect(&reach)?;
                let id = account_id(&client, &account)?;
                let all = client.list("/v1/virtual-accounts")?;
                let present = all.iter().find(|found| show::text(found, "id") == id).unwrap_or(&Value::Null);
                let or =
                    |new: Option<String>, member: &str| new.unwrap_or_else(|| show::text(present, member).to_owned());
                let body = json!({ "name": or(name, "name"), "description": or(description, "description") });
                let changed = client.patch(&format!("/v1/virtual-accounts/{}", encoded(&id)), &body)?;
                self.say(&changed, |changed, _| show::accounts(std::slice::from_ref(changed)))
            }
            AccountCommand::Remove { reach, account } => {
                let client = self.connect(&reach)?;
                let id = account_id(&client, &account)?;
                let done = client.delete(&format!("/v1/virtual-accounts/{}", encoded(&id)))?;
                self.say(&done, |_, _| "Removed.\n".to_owned())
            }
            AccountCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/virtual-accounts", |accounts, _| show::accounts(accounts))
            }
            AccountCommand::Show(reach) => {
                let account = self.connect(&reach)?.get("/v1/account")?;
                self.say(&account, show::account)
            }
        }
    }

    pub(super) fn user(&mut self, command: UserCommand) -> Result<(), Failure> {
        match command {
            UserCommand::Create { reach, name, role, password_file } => {
                let password = secret_line(&password_file)?;
                let body = json!({ "name": name, "role": role.name(), "password": password.as_str() });
                let made = self.connect(&reach)?.post("/v1/users", Some(&body))?;
                self.say(&made, |made, now| show::users(std::slice::from_ref(made), now))
            }
            UserCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/users", show::users)
            }
            UserCommand::Role { reach, user, role } => self.change_user(&reach, &user, &json!({ "role": role.name() })),
            UserCommand::Disable { reach, user } => self.change_user(&reach, &user, &json!({ "disabled": true })),
            UserCommand::Enable { reach, user } => self.change_user(&reach, &user, &json!({ "disabled": false })),
            UserCommand::Password { reach, user, password_file } => {
                let client = self.connect(&reach)?;
                let path = format!("{}/password", user_path(&client, &user)?);
                let password = secret_line(&password_file)?;
                let changed = client.post(&path, Some(&json!({ "password": password.as_str() })))?;
                self.say(&changed, |changed, now| show::users(std::slice::from_ref(changed), now))
            }
            UserCommand::Remove { reach, user } => {
                let client = self.connect(&reach)?;
                let done = client.delete(&user_path(&client, &user)?)?;
                self.say(&done, |_, _| "Removed.\n".to_owned())
            }
        }
    }

    fn change_user(&mut self, reach: &Reach, user: &str, patch: &Value) -> Result<(), Failure> {
        let client = self.connect(reach)?;
        let changed = client.patch(&user_path(&client, user)?, patch)?;
        self.say(&changed, |changed, now| show::users(std::slice::from_ref(changed), now))
    }

    pub(super) fn key(&mut self, command: KeyCommand) -> Result<(), Failure> {
        match command {
            KeyCommand::Create { reach, name, role, days } => {
                let body = json!({ "name": name, "role": role.name(), "days": days });
                let made = self.connect(&reach)?.post("/v1/api-keys", Some(&body))?;
                self.say_secret(&made, &format!("API key {}. It is shown this once:", show::text(&made, "id")))
            }
            KeyCommand::List(reach) => {
                let client = self.connect(&reach)?;
                self.list(&client, "/v1/api-keys", show::api_keys)
            }
            KeyCommand::Revoke { reach, key } if !key.starts_with("ak-") => {
                let path = format!("/v1/keys/{}/revoke", encoded(&key));
                let revoked = self.connect(&reach)?.post(&path, None)?;
                self.say(&revoked, |revoked, _| {
                    format!(
                        "Revoked. {} signs; agents learn of it with their next message. Certificates that the revoked key \
                         signed are issued anew as their agents renew them.\n",
                        show::text(revoked, "active")
                    )
                })
            }
            KeyCommand::Revoke { reach, key } => {
                let key = self.connect(&reach)?.post(&format!("/v1/api-keys/{}/revoke", encoded(&key)), None)?;
                self.say(&key, |_, _| "Revoked.\n".to_owned())
            }
            KeyCommand::Signing(reach) => {
                let keys = self.connect(&reach)?.get("/v1/keys")?;
                self.say(&keys, show::signing_keys)
            }
            KeyCommand::Rotate(reach) => {
                let rotated = self.connect(&reach)?.post("/v1/keys/rotate", None)?;
                self.say(&rotated, |rotated, _| {
                    format!(
                        "Issuer key {} signs from now on; agents learn of it with their next message.\n",
                        show::text(rotated, "active")
                    )
                })
            }
        }
    }
}

/// A user's path, by name or id.
fn user_path(client: &ManagerClient, name_or_id: &str) -> Result<String, Failure> {
    let all = client.list("/v1/users")?;
    let named = |user: &&Value| show::text(user, "name") == name_or_id || show::text(user, "id") == name_or_id;
    let found = all.iter().find(named).map(|user| format!("/v1/users/{}", encoded(show::text(user, "id"))));
    found.ok_or_else(|| {
        Failure::Refused(format!("there is no user {name_or_id:?}; `callgate manager user list` names all"))
    })
}
