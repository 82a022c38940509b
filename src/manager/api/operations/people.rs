//! Users, sessions, API keys.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::auth;
use super::super::operation::{Ask, Operation, Reply, paged};
use super::super::problem::Problem;
use super::{CURSOR, LIMIT};
use crate::manager::domain::{Actor, NewUser, OperatorCommand, PasswordHash, Role};

/// A password: wiped from memory when it goes.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateUser {
    name: String,
    role: Role,
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPassword {
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    old: Password,
    password: Password,
}

/// A user's own password: with the old one, and with no role in particular.
async fn change_password(ask: Ask) -> Result<Reply, Problem> {
    auth::guess(&ask.api, ask.peer.address)?;
    let ChangePassword { old, password } = ask.json()?;
    let name = ask.actor.name.strip_prefix("user:").unwrap_or_default().to_owned();
    let user = ask.api.service.read(move |domain, _| domain.user_by_name(&name).cloned()).await?;
    let Some(user) = user else {
        let detail = "only users who logged in have one; this is an API key or the admin socket";
        return Err(Problem::new(StatusCode::CONFLICT, "no password to change", detail));
    };
    if !ask.api.logins.check(Some(&user), old.0).await? {
        return Err(Problem::unauthorized("the old password is another one"));
    }
    let hash = PasswordHash(ask.api.logins.hash(password.0).await?);
    ask.command(OperatorCommand::SetPassword(user.id, hash)).await
}

async fn login(ask: Ask) -> Result<Reply, Problem> {
    // Each try counts, the right one too: who knows the password needs no eleven tries a minute.
    auth::guess(&ask.api, ask.peer.address)?;
    let Login { name, password } = ask.json()?;
    let asked: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let user = ask.api.service.read(move |domain, _| domain.user_by_name(&name).cloned()).await?;
    if !ask.api.logins.check(user.as_ref(), password.0).await? {
        // As often as the limiter lets through.
        let address = ask.peer.address.map(|address| address.to_string());
        tracing::warn!(user = asked, address, "a login failed");
        return Err(Problem::unauthorized("no user has this name and this password, or the user is disabled"));
    }
    let Some(user) = user else { return Err(Problem::unauthorized("no such user")) };
    let actor = Actor { name: format!("user:{}", user.name), role: user.role, address: ask.peer.address };
    let noted = ask.api.service.write(move |domain, now, _| ((), domain.note_login(&actor, now)));
    // Who comes to look why nothing can be written must get in.
    if let Err(error) = noted.await {
        tracing::warn!(%error, user = user.name, "a login is not in the audit log");
    }
    ask.peer.known.store(true, std::sync::atomic::Ordering::Relaxed);
    let opened = ask.api.logins.open(&user, ask.api.service.now());
    Ok(Reply::Json(json!({
        "secret": opened.text.as_str(),
        "name": user.name,
        "role": user.role,
        "expires_at": opened.until,
    })))
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::post("/v1/sessions", "login", |ask| Box::pin(login(ask)))
        .says("Log in; `secret` is the bearer of what follows, for at most 8 hours, and 30 minutes unused")
        .open()
        .takes("@Login")
        .answers(201, "@Session"),
    Operation::delete("/v1/sessions/current", "logout", |ask| {
        Box::pin(async move {
            let closed = ask.bearer.as_ref().is_some_and(|bearer| ask.api.logins.close(bearer));
            if closed { Ok(Reply::Empty) } else { Err(Problem::missing("session", "current")) }
        })
    })
    .says("End the session that asks")
    .answers_nothing(),
    Operation::get("/v1/whoami", "whoami", |ask| {
        Box::pin(async move {
            let address = ask.actor.address.map(|address| address.to_string());
            Ok(Reply::Json(json!({ "name": ask.actor.name, "role": ask.actor.role, "address": address })))
        })
    })
    .says("Who asks, and what they may do")
    .answers(200, "@Whoami"),
    Operation::get("/v1/users", "users", |ask| {
        Box::pin(async move {
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, _| domain.users(&page)).await?)
        })
    })
    .says("Users")
    .needs(Role::Owner)
    .query(&[CURSOR, LIMIT])
    .answers(200, "page User"),
    Operation::post("/v1/users", "createUser", |ask| {
        Box::pin(async move {
            let CreateUser { name, role, password } = ask.json()?;
            let password_hash = PasswordHash(ask.api.logins.hash(password.0).await?);
            ask.command(OperatorCommand::CreateUser(NewUser { name, role, password_hash })).await
        })
    })
    .says("Make a user")
    .needs(Role::Owner)
    .takes("@NewUser")
    .answers(201, "@User"),
    Operation::patch("/v1/users/{user}", "updateUser", |ask| {
        Box::pin(async move {
            let (id, patch) = (ask.id("user", "user")?, ask.json()?);
            ask.command(OperatorCommand::UpdateUser(id, patch)).await
        })
    })
    .says("Change a user's role or right to log in")
    .needs(Role::Owner)
    .takes("@UserPatch")
    .answers(200, "@User"),
    Operation::post("/v1/users/{user}/password", "setPassword", |ask| {
        Box::pin(async move {
            let SetPassword { password } = ask.json()?;
            let id = ask.id("user", "user")?;
            let hash = PasswordHash(ask.api.logins.hash(password.0).await?);
            ask.command(OperatorCommand::SetPassword(id, hash)).await
        })
    })
    .says("Give a user another password, which ends the user's sessions")
    .needs(Role::Owner)
    .takes("@SetPassword")
    .answers(200, "@User"),
    Operation::post("/v1/users/current/password", "changePassword", |ask| Box::pin(change_password(ask)))
        .says("Change the password of the user who asks, with the old one; ends the user's sessions")
        .takes("@ChangePassword")
        .answers(200, "@User"),
    Operation::delete("/v1/users/{user}", "removeUser", |ask| {
        Box::pin(async move {
            let id = ask.id("user", "user")?;
            ask.command(OperatorCommand::RemoveUser(id)).await
        })
    })
    .says("Remove a user")
    .needs(Role::Owner)
    .answers_nothing(),
    Operation::get("/v1/api-keys", "apiKeys", |ask| {
        Box::pin(async move {
            let page = ask.page()?;
            paged(ask.api.service.read(move |domain, _| domain.api_keys(&page)).await?)
        })
    })
    .says("API keys, without their texts")
    .needs(Role::Owner)
    .query(&[CURSOR, LIMIT])
    .answers(200, "page ApiKey"),
    Operation::post("/v1/api-keys", "createApiKey", |ask| {
        Box::pin(async move {
            let new = ask.json()?;
            ask.command(OperatorCommand::CreateApiKey(new)).await
        })
    })
    .says("Make an API key; `secret` is shown this once")
    .needs(Role::Owner)
    .takes("@NewApiKey")
    .answers(201, "@MadeApiKey"),
    Operation::post("/v1/api-keys/{api_key}/revoke", "revokeApiKey", |ask| {
        Box::pin(async move {
            let id = ask.id("api_key", "API key")?;
            ask.command(OperatorCommand::RevokeApiKey(id)).await
        })
    })
    .says("End an API key")
    .needs(Role::Owner)
    .answers(200, "@ApiKey"),
];
