//! What can be asked. Nothing here changes anything; lists come in pages.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Bound;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::bounds::{EXAMINED_MAX, PAGE_MAX};
use super::record::{InstanceState, TagClass, VirtualAccount};
use super::view::{
    AccountView, AlertView, ApiKeyView, InstanceFilter, InstanceView, LicenseView, LotView, Page, PageRequest, Stats,
    TokenView, UserView, VirtualAccountView,
};
use super::{
    Actor, AuditHead, Domain, InstanceId, KeyMeta, OperatorRefused, TagDefinition, TokenId, User, VirtualAccountId,
};
use crate::protocol::{ComplianceStatus, Entropy, RegistrationToken, TokenHash, Udi};
use crate::units::UnixMillis;

/// A page, or why there is none: a cursor that is none, a limit that is not accepted, an object that doesn't exist.
pub type Paged<T> = Result<Page<T>, OperatorRefused>;

impl Domain {
    /// The smart account.
    #[must_use]
    pub fn account(&self) -> AccountView {
        let account = &self.account;
        AccountView {
            name: account.name.clone(),
            default_virtual_account: account.default_virtual_account,
            policy_version: account.policy_version,
            ooc_scope: account.ooc_scope,
            overage: account.overage,
            eval_policy: account.eval_policy,
            export_permitted: account.export_permitted,
            reservation_allowed: account.reservation_allowed,
            products: account.products.clone(),
            token_days: account.token_days,
            report_days: account.report_days,
            created_at: account.created_at,
            restores: account.restores,
        }
    }

    /// Virtual accounts.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn virtual_accounts(&self, page: &PageRequest, now: UnixMillis) -> Paged<VirtualAccountView> {
        page_of(&self.virtual_accounts, page, |_, _| true, |account| self.virtual_account_view(account, now))
    }

    /// A virtual account, by its id or its name; by its name in other letter case too, where only one has it.
    #[must_use]
    pub fn find_virtual_account(&self, id_or_name: &str) -> Option<VirtualAccountId> {
        let by_id = id_or_name.parse().ok().filter(|id| self.virtual_accounts.contains_key(id));
        let exact = || self.virtual_accounts.values().find(|account| account.name == id_or_name).map(|found| found.id);
        let folded = id_or_name.to_lowercase();
        by_id.or_else(exact).or_else(|| {
            let mut alike = self.virtual_accounts.values().filter(|account| account.name.to_lowercase() == folded);
            let first = alike.next()?;
            alike.next().is_none().then_some(first.id)
        })
    }

    /// Tags that the account knows.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn tags(&self, page: &PageRequest) -> Paged<TagDefinition> {
        page_of(&self.tags, page, |_, _| true, TagDefinition::clone)
    }

    /// Licenses by virtual account and tag. Cursors are `VIRTUAL-ACCOUNT/TAG`.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn licenses(
        &self,
        virtual_account: Option<VirtualAccountId>,
        page: &PageRequest,
        now: UnixMillis,
    ) -> Paged<LicenseView> {
        checked(page)?;
        let after = match &page.cursor {
            None => None,
            Some(cursor) => {
                let parsed = cursor.split_once('/').and_then(|(account, tag)| Some((account.parse().ok()?, tag)));
                Some(parsed.ok_or_else(|| no_cursor(cursor))?)
            }
        };
        let wanted = |account, tag: &str| {
            virtual_account.is_none_or(|only| only == account) && after.is_none_or(|after| (account, tag) > after)
        };
        let mut found = self.books.pools().filter(|(account, tag, _)| wanted(*account, tag));
        let items: Vec<_> =
            found.by_ref().take(page.limit).map(|(account, tag, _)| self.license_view(account, tag, now)).collect();
        let more = found.next().is_some();
        let next = items.last().filter(|_| more).map(|last| format!("{}/{}", last.virtual_account, last.tag));
        Ok(Page { items, next })
    }

    fn license_view(&self, account: VirtualAccountId, tag: &str, now: UnixMillis) -> LicenseView {
        let standing = self.standing(account, tag, now);
        let definition = self.tags.get(tag);
        let short = standing.shortage() > 0;
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        LicenseView {
            virtual_account: account,
            tag: tag.to_owned(),
            display_name: definition.map_or_else(|| tag.to_owned(), |tag| tag.display_name.clone()),
            class: definition.map_or(TagClass::License, |tag| tag.class),
            tier: definition.and_then(|tag| tag.tier.clone()),
            purchased: standing.supply.purchased,
            in_use: standing.in_use,
            held: standing.held,
            reserved: 0,
            in_transit: 0,
            balance: signed(standing.supply.purchased) - signed(standing.in_use),
            substituted: standing.supply.from_above.min(standing.in_use.saturating_sub(standing.supply.purchased)),
            shortage: standing.shortage(),
            status: if short { ComplianceStatus::OutOfCompliance } else { ComplianceStatus::InCompliance },
            next_end: self.books.pool(account, tag).and_then(|pool| pool.next_end(now)),
        }
    }

    /// Purchases.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn lots(
        &self,
        virtual_account: Option<VirtualAccountId>,
        page: &PageRequest,
        now: UnixMillis,
    ) -> Paged<LotView> {
        let wanted = |_: &_, lot: &super::Lot| virtual_account.is_none_or(|id| lot.virtual_account == id);
        page_of(&self.lots, page, wanted, |lot| LotView::of(lot, now))
    }

    /// Registration tokens.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn tokens(
        &self,
        virtual_account: Option<VirtualAccountId>,
        page: &PageRequest,
        now: UnixMillis,
    ) -> Paged<TokenView> {
        let wanted = |_: &_, token: &super::Token| virtual_account.is_none_or(|id| token.virtual_account == id);
        page_of(&self.tokens, page, wanted, |token| TokenView::of(token, now))
    }

    /// A registration token's facts.
    #[must_use]
    pub fn token(&self, id: TokenId, now: UnixMillis) -> Option<TokenView> {
        self.tokens.get(&id).map(|token| TokenView::of(token, now))
    }

    /// Product instances. One call looks at ten thousand at most: a page may hold fewer than its limit, or none, and still
    /// say where to go on.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn instances(&self, filter: &InstanceFilter, page: &PageRequest) -> Paged<InstanceView> {
        self.instances_of(filter, page, EXAMINED_MAX)
    }

    /// As [`instances`](Self::instances), looking at so many at most. A page may hold fewer than there are, or none, and say
    /// where to go on.
    pub(super) fn instances_of(
        &self,
        filter: &InstanceFilter,
        page: &PageRequest,
        examined_max: usize,
    ) -> Paged<InstanceView> {
        checked(page)?;
        let after = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(cursor.parse::<InstanceId>().map_err(|_| no_cursor(cursor))?),
        };
        let range = (after, Bound::Unbounded);
        let mut ids: Box<dyn Iterator<Item = &InstanceId>> = match filter.virtual_account {
            Some(account) => Box::new(self.books.members.get(&account).into_iter().flat_map(|ids| ids.range(range))),
            None => Box::new(self.instances.range(range).map(|(id, _)| id)),
        };
        let (mut items, mut last, mut seen) = (Vec::new(), None, None);
        for id in ids.by_ref().take(examined_max) {
            if let Some(instance) = self.instances.get(id).filter(|one| filter.wants(one)) {
                if items.len() == page.limit {
                    return Ok(Page { items, next: last.map(ToString::to_string) });
                }
                items.push(InstanceView::of(instance));
                last = Some(id);
            }
            seen = Some(id);
        }
        let next = if ids.next().is_some() { seen.map(ToString::to_string) } else { None };
        Ok(Page { items, next })
    }

    /// A product instance.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<InstanceView> {
        self.instances.get(&id).map(InstanceView::of)
    }

    /// A product instance, by its id or its UDI.
    #[must_use]
    pub fn find_instance(&self, id_or_udi: &str) -> Option<InstanceId> {
        let by_id = id_or_udi.parse().ok().filter(|id| self.instances.contains_key(id));
        by_id.or_else(|| self.by_udi.get(&id_or_udi.parse::<Udi>().ok()?).copied())
    }

    /// Active alerts.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn alerts(&self, page: &PageRequest) -> Paged<AlertView> {
        page_of(&self.alerts, page, |_, _| true, AlertView::clone)
    }

    /// Users.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn users(&self, page: &PageRequest) -> Paged<UserView> {
        page_of(&self.users, page, |_, _| true, UserView::of)
    }

    /// A user with the password's hash, for whoever checks passwords.
    #[must_use]
    pub fn user_by_name(&self, name: &str) -> Option<&User> {
        self.users.values().find(|user| user.name == name)
    }

    /// API keys.
    ///
    /// # Errors
    /// If the page cannot be made.
    pub fn api_keys(&self, page: &PageRequest) -> Paged<ApiKeyView> {
        page_of(&self.api_keys, page, |_, _| true, ApiKeyView::of)
    }

    /// Whose API key this is, if it is good.
    #[must_use]
    pub fn authenticate_api_key(&self, text: &str, now: UnixMillis) -> Option<Actor> {
        let key = self.api_keys.get(self.api_key_by_hash.get(&hash_of(text))?)?;
        let good = key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end);
        good.then(|| Actor { name: format!("key:{}", key.prefix), role: key.role, address: None })
    }

    /// What is known of signing keys, by their short names.
    pub fn keys(&self) -> impl Iterator<Item = &KeyMeta> {
        self.keys.values()
    }

    /// A setting of the service.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|setting| setting.value.as_str())
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let short: usize = self.virtual_accounts.values().map(|account| account.short_since.len()).sum();
        let of = |state| (state, self.books.states.get(&state).copied().unwrap_or(0));
        Stats {
            virtual_accounts: count(self.virtual_accounts.len()),
            instances: InstanceState::ALL.into_iter().map(of).collect(),
            tokens: count(self.tokens.len()),
            alerts: count(self.alerts.len()),
            alerts_dropped: self.alerts_dropped,
            pools_short: count(short),
            messages: self.messages,
            refusals: self.refusals.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
        }
    }

    /// The end of the audit log's chain.
    #[must_use]
    pub fn audit_head(&self) -> &AuditHead {
        &self.audit
    }

    /// A virtual account.
    #[must_use]
    pub fn virtual_account(&self, id: VirtualAccountId, now: UnixMillis) -> Option<VirtualAccountView> {
        self.virtual_accounts.get(&id).map(|account| self.virtual_account_view(account, now))
    }

    pub(super) fn virtual_account_view(&self, account: &VirtualAccount, now: UnixMillis) -> VirtualAccountView {
        let short = |tag: &String| self.standing(account.id, tag, now).shortage() > 0;
        let status = if self.books.pools_of(account.id).any(|(tag, _)| short(tag)) {
            ComplianceStatus::OutOfCompliance
        } else {
            ComplianceStatus::InCompliance
        };
        VirtualAccountView {
            id: account.id,
            name: account.name.clone(),
            description: account.description.clone(),
            is_default: account.id == self.account.default_virtual_account,
            instances: self.books.registered.get(&account.id).copied().unwrap_or(0),
            status,
            created_at: account.created_at,
        }
    }
}

/// The SHA-256 of an API key's text.
pub(super) fn hash_of(text: &str) -> TokenHash {
    let hex: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    // 64 hexadecimal digits always are a hash; the other arm is for the type.
    TokenHash::from_hex(&hex).unwrap_or_else(|| RegistrationToken::generate(&mut Entropy::from_seed([0; 32])).hash())
}

fn checked(page: &PageRequest) -> Result<(), OperatorRefused> {
    if (1..=PAGE_MAX).contains(&page.limit) {
        return Ok(());
    }
    Err(OperatorRefused::Invalid {
        field: "limit",
        found: page.limit.to_string(),
        accepted: format!("1 to {PAGE_MAX}"),
    })
}

fn no_cursor(found: &str) -> OperatorRefused {
    OperatorRefused::Invalid {
        field: "cursor",
        found: found.chars().take(64).collect(),
        accepted: "`next` of the page before".to_owned(),
    }
}

fn page_of<K: Ord + Clone + Display + FromStr, V, T>(
    map: &BTreeMap<K, V>,
    page: &PageRequest,
    wanted: impl Fn(&K, &V) -> bool,
    view: impl Fn(&V) -> T,
) -> Paged<T> {
    checked(page)?;
    let after = match &page.cursor {
        None => Bound::Unbounded,
        Some(cursor) => Bound::Excluded(cursor.parse::<K>().map_err(|_| no_cursor(cursor))?),
    };
    let mut found = map.range((after, Bound::Unbounded)).filter(|(key, value)| wanted(key, value));
    let mut items = Vec::new();
    let mut last = None;
    for (key, value) in found.by_ref().take(page.limit) {
        items.push(view(value));
        last = Some(key);
    }
    let next = if found.next().is_some() { last.map(ToString::to_string) } else { None };
    Ok(Page { items, next })
}
