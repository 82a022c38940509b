//! Reports as data: inventory (REP-01, REP-02), compliance warning (REP-03), consumption (REP-05).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bounds::REPORT_ROWS_MAX;
use super::ids::{InstanceId, ReportId, VirtualAccountId};
use super::record::{Instance, InstanceState};
use super::{Actor, Domain, OperatorRefused};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

/// The kinds of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// All pools and all instances at a time.
    Inventory,
    /// Shortfalls, and nothing else.
    ComplianceWarning,
    /// What is used of what was bought, to plan purchases.
    Consumption,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its id.
    pub id: ReportId,
    /// What it says.
    pub kind: ReportKind,
    /// Of which virtual account; `None` is all.
    pub virtual_account: Option<VirtualAccountId>,
    /// When.
    pub at: UnixMillis,
    /// Who asked for it.
    pub actor: String,
    /// Pools.
    pub pools: Vec<ReportPool>,
    /// Instances; inventory only, bounded.
    pub instances: Vec<ReportInstance>,
    /// Instances that were left out because there are too many.
    pub instances_left_out: usize,
}

/// A pool in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportPool {
    /// Whose.
    pub virtual_account: VirtualAccountId,
    /// Its name.
    pub virtual_account_name: String,
    /// The tag.
    pub tag: String,
    /// Its name for people.
    pub display_name: String,
    /// Licenses bought and not ended.
    pub purchased: u64,
    /// Licenses asked for.
    pub in_use: u64,
    /// Licenses short, after higher tiers stood in.
    pub shortage: u64,
    /// The sum of the observed peaks of the last reports.
    pub observed_peak: u64,
    /// The sum of their 95th percentiles.
    pub p95: u64,
    /// What will be asked for after the next changes of configuration.
    pub next: u64,
    /// When the first term ends.
    pub next_end: Option<UnixMillis>,
}

/// An instance in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportInstance {
    /// Which.
    pub instance: InstanceId,
    /// Its identity.
    pub udi: String,
    /// Its host's name, if shared.
    pub hostname: Option<String>,
    /// Its profile.
    pub profile: String,
    /// What it is.
    pub state: InstanceState,
    /// When it last said anything.
    pub last_contact: UnixMillis,
    /// What it asked for, by tag.
    pub tags: Vec<(String, u64)>,
}

impl Domain {
    /// A report, without archiving it.
    ///
    /// # Errors
    /// If there is no such virtual account.
    pub fn report(
        &self,
        kind: ReportKind,
        virtual_account: Option<VirtualAccountId>,
        actor: &Actor,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> Result<Report, OperatorRefused> {
        if let Some(id) = virtual_account.filter(|id| !self.virtual_accounts.contains_key(id)) {
            return Err(OperatorRefused::NotFound { what: "virtual account", id: id.to_string() });
        }
        let wanted = |id: VirtualAccountId| virtual_account.is_none_or(|only| only == id);
        let registered =
            || self.instances.values().filter(|one| one.state.is_registered() && wanted(one.virtual_account));
        // Observed use is summed over instances, which a warning doesn't show and need not walk.
        let mut uses: BTreeMap<(VirtualAccountId, &str), (u64, u64, u64)> = BTreeMap::new();
        if kind != ReportKind::ComplianceWarning {
            for (account, one) in
                registered().flat_map(|one| one.entitlements.iter().map(|tag| (one.virtual_account, tag)))
            {
                let (peak, p95, next) = uses.entry((account, one.tag.as_str())).or_default();
                let used = one.last_use.as_ref();
                *peak = peak.saturating_add(used.map_or(0, |used| used.observed_peak));
                *p95 = p95.saturating_add(used.map_or(0, |used| used.p95));
                *next = next.saturating_add(used.and_then(|used| used.next).unwrap_or(one.requested));
            }
        }
        let mut pools = Vec::new();
        for (account, tag, pool) in self.books.pools().filter(|(account, ..)| wanted(*account)) {
            let standing = self.standing(account, tag, now);
            if kind == ReportKind::ComplianceWarning && standing.shortage() == 0 {
                continue;
            }
            let (observed_peak, p95, next) = uses.get(&(account, tag.as_str())).copied().unwrap_or_default();
            pools.push(ReportPool {
                virtual_account: account,
                virtual_account_name: self.name_of(account),
                tag: tag.clone(),
                display_name: self.tags.get(tag).map_or_else(|| tag.clone(), |tag| tag.display_name.clone()),
                purchased: standing.supply.purchased,
                in_use: standing.in_use,
                shortage: standing.shortage(),
                observed_peak,
                p95,
                next,
                next_end: pool.next_end(now),
            });
        }
        let (mut instances, mut count) = (Vec::new(), 0_usize);
        if kind == ReportKind::Inventory {
            count = registered().count();
            instances.extend(registered().take(REPORT_ROWS_MAX).map(row));
        }
        Ok(Report {
            id: ReportId::generate(entropy),
            kind,
            virtual_account,
            at: now,
            actor: actor.name.clone(),
            pools,
            instances_left_out: count.saturating_sub(instances.len()),
            instances,
        })
    }
}

fn row(instance: &Instance) -> ReportInstance {
    ReportInstance {
        instance: instance.id,
        udi: instance.udi.to_string(),
        hostname: instance.hostname.clone(),
        profile: instance.profile.clone(),
        state: instance.state,
        last_contact: instance.last_contact,
        tags: instance.entitlements.iter().map(|one| (one.tag.clone(), one.requested)).collect(),
    }
}
