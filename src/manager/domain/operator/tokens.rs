//! Registration tokens.

use super::super::batch::Batch;
use super::super::bounds::{DAY_MS, FILTERS_MAX, TOKEN_USES_MAX, TOKENS_MAX};
use super::super::record::{Record, Token};
use super::super::view::{TokenState, TokenView};
use super::super::{Domain, NewToken, OperatorRefused, OperatorReply, TokenId};
use super::{Acting, Outcome, did, invalid, names, not_found, note_text, room};
use crate::protocol::{Entropy, RegistrationToken};
use crate::units::UnixMillis;

impl Domain {
    pub(super) fn create_token(
        &mut self,
        acting: &Acting<'_>,
        new: NewToken,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Outcome {
        let account = self.account_or_default(new.virtual_account)?;
        room("tokens, ended ones included", self.tokens.len(), TOKENS_MAX)?;
        let days = new.days.unwrap_or(self.account.token_days);
        if !(1..=365).contains(&days) {
            return Err(invalid("days", days, "1 to 365"));
        }
        if let Some(uses) = new.max_uses.filter(|uses| !(1..=TOKEN_USES_MAX).contains(uses)) {
            return Err(invalid("max_uses", uses, format!("1 to {TOKEN_USES_MAX}, or null for any number")));
        }
        let export_allowed = new.export_allowed.unwrap_or(self.account.export_permitted);
        if export_allowed && !self.account.export_permitted {
            return Err(invalid(
                "export_allowed",
                true,
                "false: the account doesn't permit export-controlled functions",
            ));
        }
        names("products", &new.products)?;
        if new.networks.len() > FILTERS_MAX {
            let accepted = format!("at most {FILTERS_MAX} entries");
            return Err(invalid("networks", format!("{} entries", new.networks.len()), accepted));
        }
        note_text("note", &new.note)?;
        let secret = RegistrationToken::generate(entropy);
        let token = Token {
            id: TokenId::generate(entropy),
            virtual_account: account,
            hash: secret.hash(),
            max_uses: new.max_uses,
            uses: 0,
            created_at: acting.now,
            expires_at: UnixMillis(acting.now.0.saturating_add(u64::from(days) * DAY_MS)),
            export_allowed,
            products: new.products,
            networks: new.networks,
            note: new.note,
            created_by: acting.actor.name.clone(),
            revoked_at: None,
            last_used_at: None,
        };
        let uses = token.max_uses.map_or_else(|| "any number of uses".to_owned(), |max| format!("{max} uses"));
        let detail = format!("for {account}, {days} days, {uses}, export {export_allowed}");
        let view = TokenView::of(&token, acting.now);
        let target = format!("/tokens/{}", token.id);
        batch.put(Record::Token(token.clone()));
        self.token_by_hash.insert(token.hash, token.id);
        self.tokens.insert(token.id, token);
        Ok(did(OperatorReply::Token(Box::new(view), Some(secret)), target, detail))
    }

    pub(super) fn revoke_token(&mut self, acting: &Acting<'_>, id: TokenId, batch: &mut Batch) -> Outcome {
        let Some(token) = self.tokens.get_mut(&id) else { return Err(not_found("token", id)) };
        token.revoked_at = token.revoked_at.or(Some(acting.now));
        batch.put(Record::Token(token.clone()));
        let view = TokenView::of(token, acting.now);
        Ok(did(OperatorReply::Token(Box::new(view), None), format!("/tokens/{id}"), ""))
    }

    pub(super) fn remove_token(&mut self, acting: &Acting<'_>, id: TokenId, batch: &mut Batch) -> Outcome {
        let Some(token) = self.tokens.get(&id) else { return Err(not_found("token", id)) };
        if token.state(acting.now) == TokenState::Active {
            return Err(OperatorRefused::Conflict("the token is active; revoke it first".into()));
        }
        let hash = token.hash;
        self.tokens.remove(&id);
        self.token_by_hash.remove(&hash);
        batch.remove(id);
        Ok(did(OperatorReply::Done, format!("/tokens/{id}"), ""))
    }
}
