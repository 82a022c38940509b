//! Users and API keys.

use super::super::batch::Batch;
use super::super::bounds::{API_KEYS_MAX, DAY_MS, USERS_MAX};
use super::super::command::ApiKeySecret;
use super::super::query::hash_of;
use super::super::record::{ApiKey, Record, Role, User};
use super::super::view::{ApiKeyView, UserView};
use super::super::{
    ApiKeyId, Domain, NewApiKey, NewUser, OperatorRefused, OperatorReply, PasswordHash, UserId, UserPatch,
};
use super::{Acting, Outcome, did, invalid, name, not_found, room, storable, word};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

/// The longest password hash that is stored, in bytes.
const HASH_BYTES_MAX: usize = 512;

impl Domain {
    pub(super) fn create_user(
        &mut self,
        acting: &Acting<'_>,
        new: NewUser,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        room("users", self.users.len(), USERS_MAX)?;
        word("name", &new.name)?;
        check_hash(&new.password_hash)?;
        if self.user_by_name(&new.name).is_some() {
            return Err(invalid("name", &new.name, "a name that no other user has"));
        }
        let user = User {
            id: UserId::generate(entropy),
            name: new.name,
            role: new.role,
            password_hash: new.password_hash.0,
            disabled: false,
            created_at: acting.now,
            password_at: acting.now,
        };
        let detail = format!("{} as {}", user.name, user.role.name());
        Ok(self.put_user(user, detail, batch))
    }

    fn put_user(&mut self, user: User, detail: impl Into<String>, batch: &mut Batch) -> super::Did {
        let view = UserView::of(&user);
        let target = format!("/users/{}", user.id);
        batch.put(Record::User(user.clone()));
        self.users.insert(user.id, user);
        did(OperatorReply::User(Box::new(view)), target, detail)
    }

    fn user(&self, id: UserId) -> Result<User, OperatorRefused> {
        self.users.get(&id).cloned().ok_or_else(|| not_found("user", id))
    }

    /// Without an owner who can log in, nobody could make one.
    fn another_owner(&self, than: UserId) -> Result<(), OperatorRefused> {
        let owner = |user: &&User| user.role == Role::Owner && !user.disabled;
        let is_owner = self.users.get(&than).is_some_and(|user| owner(&user));
        if is_owner && !self.users.values().filter(owner).any(|user| user.id != than) {
            return Err(OperatorRefused::Conflict("this is the last owner who can log in; make another first".into()));
        }
        Ok(())
    }

    pub(super) fn update_user(&mut self, id: UserId, patch: UserPatch, batch: &mut Batch) -> Outcome {
        let old = self.user(id)?;
        if patch.disabled == Some(true) || patch.role.is_some_and(|role| role != Role::Owner) {
            self.another_owner(id)?;
        }
        let detail = format!("{}: role {:?}, disabled {:?}", old.name, patch.role, patch.disabled);
        let user =
            User { role: patch.role.unwrap_or(old.role), disabled: patch.disabled.unwrap_or(old.disabled), ..old };
        Ok(self.put_user(user, detail, batch))
    }

    pub(super) fn set_password(
        &mut self,
        acting: &Acting<'_>,
        id: UserId,
        hash: PasswordHash,
        batch: &mut Batch,
    ) -> Outcome {
        let old = self.user(id)?;
        if acting.actor.role < Role::Owner && acting.actor.name != format!("user:{}", old.name) {
            return Err(OperatorRefused::Forbidden { found: acting.actor.role, needs: Role::Owner });
        }
        check_hash(&hash)?;
        let detail = old.name.clone();
        let user = User { password_hash: hash.0, password_at: acting.now, ..old };
        Ok(self.put_user(user, detail, batch))
    }

    pub(super) fn remove_user(&mut self, id: UserId, batch: &mut Batch) -> Outcome {
        let user = self.user(id)?;
        self.another_owner(id)?;
        self.users.remove(&id);
        batch.remove(id);
        Ok(did(OperatorReply::Done, format!("/users/{id}"), user.name))
    }

    pub(super) fn create_api_key(
        &mut self,
        acting: &Acting<'_>,
        new: NewApiKey,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        room("API keys, ended ones included", self.api_keys.len(), API_KEYS_MAX)?;
        name("name", &new.name)?;
        if let Some(days) = new.days.filter(|days| !(1..=3650).contains(days)) {
            return Err(invalid("days", days, "1 to 3650, or none for a key without end"));
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let prefix = format!("cgk_{}", hex(&entropy.bytes::<4>()));
        let secret = ApiKeySecret(format!("{prefix}_{}", hex(&entropy.bytes::<32>())));
        let key = ApiKey {
            id: ApiKeyId::generate(entropy),
            name: new.name,
            role: new.role,
            prefix,
            hash: hash_of(secret.reveal()),
            created_by: acting.actor.name.clone(),
            created_at: acting.now,
            expires_at: new.days.map(|days| UnixMillis(acting.now.0.saturating_add(u64::from(days) * DAY_MS))),
            revoked_at: None,
        };
        let (view, target) = (ApiKeyView::of(&key), format!("/api-keys/{}", key.id));
        let detail = format!("{:?} as {}, {}", key.name, key.role.name(), key.prefix);
        batch.put(Record::ApiKey(key.clone()));
        self.api_key_by_hash.insert(key.hash, key.id);
        self.api_keys.insert(key.id, key);
        Ok(did(OperatorReply::ApiKey(Box::new(view), Some(secret)), target, detail))
    }

    pub(super) fn revoke_api_key(&mut self, acting: &Acting<'_>, id: ApiKeyId, batch: &mut Batch) -> Outcome {
        let Some(key) = self.api_keys.get_mut(&id) else { return Err(not_found("API key", id)) };
        key.revoked_at = key.revoked_at.or(Some(acting.now));
        batch.put(Record::ApiKey(key.clone()));
        let view = ApiKeyView::of(key);
        Ok(did(OperatorReply::ApiKey(Box::new(view), None), format!("/api-keys/{id}"), ""))
    }
}

fn check_hash(hash: &PasswordHash) -> Result<(), OperatorRefused> {
    if (1..=HASH_BYTES_MAX).contains(&hash.0.len()) {
        return storable("password_hash", &hash.0);
    }
    Err(invalid("password_hash", format!("{} bytes", hash.0.len()), format!("1 to {HASH_BYTES_MAX} bytes")))
}
