//! What is only added to: usage and its days, the audit log, events, transfers, ended alerts, archived reports.

use callgate::manager::domain::{AuditHead, ChainBroken, Change, UsageRow};
use callgate::manager::store::{HistoryError, PoolUsageQuery, Retention, Store, UsageBy, UsageQuery};
use callgate::units::UnixMillis;

use super::data::{DAY_MS, account_id, alert_ended, append_usage, audit, event, instance_id, report, transfer, usage};
use super::{Db, NOW, on_both};

on_both!(
    usage_is_read_as_it_was_reported,
    pages_of_usage_lose_and_repeat_nothing_where_times_are_equal,
    pools_are_summed_by_hour_day_and_range,
    a_report_that_comes_twice_is_stored_once,
    usage_older_than_thirty_days_becomes_the_highest_of_each_day,
    rolling_up_goes_through_all_instances_in_batches,
    days_end_after_their_time,
    the_audit_log_is_a_chain_and_tampering_is_found,
    events_come_newest_first_in_pages_and_end_after_their_time,
    transfers_alerts_and_reports_are_kept,
);

fn sorted(mut rows: Vec<UsageRow>) -> Vec<UsageRow> {
    rows.sort_by_key(|row| (row.until, row.instance, row.tag.clone()));
    rows
}

async fn rolled_up(store: &mut Store, retention: Retention, now: UnixMillis) -> u32 {
    let mut batches = 1;
    while !store.retain(retention, now).await.unwrap() {
        batches += 1;
    }
    batches
}

const fn days_later(days: u64) -> UnixMillis {
    UnixMillis(NOW.0 + days * DAY_MS)
}

async fn usage_is_read_as_it_was_reported(db: &Db) {
    let mut store = db.open().await;
    let rows: Vec<UsageRow> = (0..40)
        .map(|at: u8| usage(at % 4, if at < 20 { "a" } else { "b" }, u64::from(at / 4) * 6, u64::from(at) * 7))
        .collect();
    store.commit(&append_usage(rows[..25].to_vec())).await.unwrap();
    // Numbers of names are known after a restart.
    store.close().await;
    let mut store = super::opened(&db.url()).await;
    store.commit(&append_usage(rows[25..].to_vec())).await.unwrap();
    let history = store.history();
    assert_eq!(sorted(history.usage(&UsageQuery::default()).await.unwrap().items), sorted(rows.clone()));

    let of = async |query: UsageQuery| sorted(history.usage(&query).await.unwrap().items);
    let expected = |keep: &dyn Fn(&UsageRow) -> bool| sorted(rows.iter().filter(|row| keep(row)).cloned().collect());
    let one = UsageQuery { instance: Some(instance_id(2)), ..UsageQuery::default() };
    assert_eq!(of(one).await, expected(&|row| row.instance == instance_id(2)));
    let account = UsageQuery { virtual_account: Some(account_id(2)), ..UsageQuery::default() };
    assert_eq!(of(account).await, expected(&|row| row.virtual_account == account_id(2)));
    let tag = UsageQuery { tag: Some("b".to_owned()), ..UsageQuery::default() };
    assert_eq!(of(tag).await, expected(&|row| row.tag == "b"));
    let (from, until) = (rows[8].until, rows[20].until);
    let time = UsageQuery { from, until: Some(until), ..UsageQuery::default() };
    assert_eq!(of(time).await, expected(&|row| from <= row.until && row.until <= until));
    let few = UsageQuery { limit: 3, ..UsageQuery::default() };
    assert_eq!(history.usage(&few).await.unwrap().items.len(), 3);
    let nobody = UsageQuery { instance: Some(instance_id(200)), ..UsageQuery::default() };
    assert!(of(nobody).await.is_empty());
}

async fn pages_of_usage_lose_and_repeat_nothing_where_times_are_equal(db: &Db) {
    let mut store = db.open().await;
    // 30 instances, two tags, four times: most rows share their time with sixty others.
    let rows: Vec<UsageRow> = (0..240_u8)
        .map(|at| usage(at % 30, if at / 30 % 2 == 0 { "a" } else { "b" }, u64::from(at / 60) * 6, u64::from(at)))
        .collect();
    store.commit(&append_usage(rows.clone())).await.unwrap();
    let history = store.history();
    let walk = async |query: UsageQuery| {
        let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = history.usage(&UsageQuery { after, ..query.clone() }).await.unwrap();
            assert!(page.items.len() <= 7);
            all.extend(page.items);
            pages += 1;
            // Through text, as a client carries it.
            after = page.next.map(|next| next.to_string().parse().unwrap());
            if after.is_none() {
                return (all, pages);
            }
        }
    };
    let query = UsageQuery { limit: 7, ..UsageQuery::default() };
    let (all, pages) = walk(query.clone()).await;
    assert_eq!(pages, 35);
    assert!(all.is_sorted_by_key(|row| row.until));
    assert_eq!(sorted(all), sorted(rows.clone()));
    let (of_tag, _) = walk(UsageQuery { tag: Some("b".to_owned()), ..query.clone() }).await;
    assert_eq!(sorted(of_tag), sorted(rows.iter().filter(|row| row.tag == "b").cloned().collect()));
    let (of_one, _) = walk(UsageQuery { instance: Some(instance_id(3)), limit: 3, ..query.clone() }).await;
    assert_eq!(sorted(of_one), sorted(rows.iter().filter(|row| row.instance == instance_id(3)).cloned().collect()));

    // The same for days.
    rolled_up(&mut store, Retention::default(), days_later(40)).await;
    let (mut days, mut after) = (Vec::new(), None);
    loop {
        let page = history.usage_daily(&UsageQuery { after, ..query.clone() }).await.unwrap();
        days.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut keys: Vec<_> = days.iter().map(|day| (day.day, day.instance, day.tag.clone())).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut expected: Vec<_> = rows
        .iter()
        .map(|row| (UnixMillis(row.until.0 - row.until.0 % DAY_MS), row.instance, row.tag.clone()))
        .collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!((days.len(), keys), (expected.len(), expected));

    // By an index: nothing of the size of the table is gone through or sorted.
    let sql = "SELECT * FROM usage_reports WHERE until_s >= 5 AND (until_s, instance, tag) > (6, 1, 1) \
               ORDER BY until_s, instance, tag LIMIT 7";
    let mut raw = db.raw().await;
    let explain = if db.is_postgres() {
        // So few rows would be gone through one by one.
        sqlx::Executor::execute(&mut raw, "SET enable_seqscan = off; SET enable_bitmapscan = off").await.unwrap();
        "EXPLAIN"
    } else {
        "EXPLAIN QUERY PLAN"
    };
    let rows = sqlx::query(&format!("{explain} {sql}")).fetch_all(&mut raw).await.unwrap();
    let column = if db.is_postgres() { 0 } else { 3 };
    let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, column)).collect();
    let plan = plan.join(" ");
    let sorted_or_scanned = ["SCAN ", "B-TREE", "Seq Scan", "Sort"].iter().any(|word| plan.contains(word));
    assert!(plan.contains("usage_reports_by_time") && !sorted_or_scanned, "{plan}");
}

async fn pools_are_summed_by_hour_day_and_range(db: &Db) {
    let mut store = db.open().await;
    // Two instances of one account, in step; one of another, half an hour off. Instances 1 and 3 are of account 2.
    let day: Vec<UsageRow> = [(6, 10, 20), (12, 40, 5), (18, 15, 15), (24, 1, 1)]
        .into_iter()
        .flat_map(|(hours, one, three)| [usage(1, "a", hours, one), usage(3, "a", hours, three)])
        .collect();
    store.commit(&append_usage(day.clone())).await.unwrap();
    let shifted = UsageRow {
        from: UnixMillis(day[0].from.0 + 1_800_000),
        until: UnixMillis(day[0].until.0 + 1_800_000),
        ..usage(2, "a", 6, 30)
    };
    store.commit(&append_usage([shifted])).await.unwrap();
    // What comes twice is summed once.
    store.commit(&append_usage(day[..3].to_vec())).await.unwrap();

    let history = store.history();
    let query = PoolUsageQuery { virtual_account: Some(account_id(2)), ..PoolUsageQuery::default() };
    let days = history.usage_of_pools(&query).await.unwrap();
    assert_eq!((days.items.len(), days.next), (1, None));
    let sum = &days.items[0];
    assert_eq!((sum.reports, sum.instances, sum.requested), (8, 2, 200));
    assert_eq!((sum.from, sum.until), (day[0].from, day[7].until));
    // Six hours of 30, 45, 30 and 2: of 24 hours 95 % don't exceed 45.
    assert_eq!((sum.peak, sum.peak_at, sum.p95), (45, day[2].from, 45));

    let hours = PoolUsageQuery { by: UsageBy::Hour, limit: 5, ..query.clone() };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = history.usage_of_pools(&PoolUsageQuery { after, ..hours.clone() }).await.unwrap();
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let peaks: Vec<u64> = all.iter().map(|hour| hour.peak).collect();
    assert_eq!(peaks, [[30; 6], [45; 6], [30; 6], [2; 6]].concat());
    assert_eq!((all[0].p95, all[5].reports, all[4].reports), (15, 2, 0));

    let other = PoolUsageQuery { virtual_account: Some(account_id(1)), by: UsageBy::Hour, ..query.clone() };
    let halves: Vec<u64> = history.usage_of_pools(&other).await.unwrap().items.iter().map(|hour| hour.peak).collect();
    assert_eq!(halves, [15, 30, 30, 30, 30, 30, 15], "half of the first and the last hour");

    let range = PoolUsageQuery { by: UsageBy::Range, ..PoolUsageQuery::default() };
    let pools = history.usage_of_pools(&range).await.unwrap().items;
    assert_eq!(
        pools.iter().map(|pool| (pool.virtual_account, pool.reports)).collect::<Vec<_>>(),
        [(account_id(2), 8), (account_id(1), 1)]
    );
    let one = PoolUsageQuery { limit: 1, ..range };
    let first = history.usage_of_pools(&one).await.unwrap();
    assert_eq!(first.items, pools[..1]);
    let rest = history.usage_of_pools(&PoolUsageQuery { after: first.next, ..one }).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), (&pools[1..], None));

    let retention = Retention { daily_days: 100, ..Retention::default() };
    rolled_up(&mut store, retention, days_later(99)).await;
    assert_eq!(history.usage_of_pools(&query).await.unwrap(), days, "kept as long as days");
    rolled_up(&mut store, retention, days_later(102)).await;
    assert!(history.usage_of_pools(&query).await.unwrap().items.is_empty());
}

async fn a_report_that_comes_twice_is_stored_once(db: &Db) {
    let mut store = db.open().await;
    let (first, second) = (usage(1, "a", 6, 10), usage(1, "a", 6, 12));
    store.commit(&append_usage([first.clone(), first.clone()])).await.unwrap();
    assert_eq!(store.history().usage(&UsageQuery::default()).await.unwrap().items, [first]);
    store.commit(&append_usage([second.clone()])).await.unwrap();
    assert_eq!(store.history().usage(&UsageQuery::default()).await.unwrap().items, [second]);
}

async fn usage_older_than_thirty_days_becomes_the_highest_of_each_day(db: &Db) {
    let mut store = db.open().await;
    // Two days of four reports, peaks 10 20 30 40 and 15 25 35 45; the reported number is capped at 90.
    let rows: Vec<UsageRow> = (0..8).map(|at: u64| usage(1, "a", at * 6 + 1, 10 + at % 4 * 10 + at / 4 * 5)).collect();
    store.commit(&append_usage(rows.clone())).await.unwrap();
    let retention = Retention::default();
    rolled_up(&mut store, retention, days_later(30)).await;
    let history = store.history();
    assert_eq!(history.usage(&UsageQuery::default()).await.unwrap().items.len(), 8, "thirty days are not over");
    assert!(history.usage_daily(&UsageQuery::default()).await.unwrap().items.is_empty());

    rolled_up(&mut store, retention, days_later(31)).await;
    assert_eq!(history.usage(&UsageQuery::default()).await.unwrap().items, rows[4..], "the second day is kept");
    let days = history.usage_daily(&UsageQuery::default()).await.unwrap().items;
    assert_eq!(days.len(), 1);
    let day = &days[0];
    assert_eq!((day.instance, day.tag.as_str(), day.virtual_account), (instance_id(1), "a", account_id(2)));
    assert_eq!(day.day.0, NOW.0 - NOW.0 % DAY_MS);
    assert_eq!((day.reports, day.samples, day.requested), (4, 96, 100));
    assert_eq!((day.observed_peak, day.reported, day.p95), (40, 40, 20));

    // Again changes nothing; a report that came late is added to its day.
    rolled_up(&mut store, retention, days_later(31)).await;
    assert_eq!(history.usage_daily(&UsageQuery::default()).await.unwrap().items, days);
    store.commit(&append_usage([usage(1, "a", 23, 400), usage(1, "a", 22, 2)])).await.unwrap();
    rolled_up(&mut store, retention, days_later(31)).await;
    let days = history.usage_daily(&UsageQuery::default()).await.unwrap().items;
    assert_eq!(days.len(), 1);
    assert_eq!((days[0].reports, days[0].observed_peak, days[0].reported, days[0].p95), (6, 400, 90, 200));

    rolled_up(&mut store, retention, days_later(32)).await;
    assert!(history.usage(&UsageQuery::default()).await.unwrap().items.is_empty());
    let of_second = UsageQuery { from: UnixMillis(days[0].day.0 + 1), ..UsageQuery::default() };
    assert_eq!(history.usage_daily(&of_second).await.unwrap().items.len(), 1);
}

async fn rolling_up_goes_through_all_instances_in_batches(db: &Db) {
    let mut store = db.open().await;
    store.commit(&append_usage((0..100).map(|at| usage(at, "a", 1, 1)))).await.unwrap();
    let retention = Retention { batch_instances: 30, ..Retention::default() };
    let count = "SELECT COUNT(*) FROM usage_reports";
    assert!(!store.retain(retention, days_later(31)).await.unwrap());
    let left = db.number(count).await;
    assert!((70..100).contains(&left), "{left} are left after a batch of thirty");
    assert!(rolled_up(&mut store, retention, days_later(31)).await >= 3);
    assert_eq!(db.number(count).await, 0);
    assert_eq!(db.number("SELECT COUNT(*) FROM usage_daily").await, 100);
}

async fn days_end_after_their_time(db: &Db) {
    let mut store = db.open().await;
    store.commit(&append_usage([usage(1, "a", 1, 1), usage(1, "a", 25, 1)])).await.unwrap();
    let retention = Retention { daily_days: 100, ..Retention::default() };
    let count = "SELECT COUNT(*) FROM usage_daily";
    for (days, expected) in [(40, 2), (100, 2), (101, 1), (102, 0)] {
        rolled_up(&mut store, retention, days_later(days)).await;
        assert_eq!(db.number(count).await, expected, "after {days} days");
    }
}

async fn the_audit_log_is_a_chain_and_tampering_is_found(db: &Db) {
    let mut store = db.open().await;
    let mut head = AuditHead::default();
    let changes: Vec<Change> = (0..50).map(|at| audit(&mut head, &format!("act-{at}"))).collect();
    store.commit(&changes).await.unwrap();
    let history = store.history();
    assert_eq!(history.verify_audit().await.unwrap(), head);
    let page = history.audit(10, 5).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);

    let broken = async || match history.verify_audit().await {
        Err(HistoryError::Chain(broken)) => broken,
        other => panic!("{other:?}"),
    };
    db.execute("UPDATE audit_log SET body = REPLACE(body, 'act-20', 'act-99')").await;
    assert_eq!(broken().await, ChainBroken::Changed { seq: 21 });
    db.execute("UPDATE audit_log SET body = REPLACE(body, 'act-99', 'act-20')").await;
    db.execute("DELETE FROM audit_log WHERE seq = 30").await;
    assert_eq!(broken().await, ChainBroken::Order { found: 31, expected: 30 });
}

async fn events_come_newest_first_in_pages_and_end_after_their_time(db: &Db) {
    let mut store = db.open().await;
    let changes: Vec<Change> =
        (0..9).map(|at: u64| Change::Append(event(u8::try_from(at % 3).unwrap(), at, days_later(at)))).collect();
    store.commit(&changes[..4]).await.unwrap();
    store.commit(&changes[4..]).await.unwrap();
    let history = store.history();
    let page = history.events(None, None, 4).await.unwrap();
    assert_eq!(page.iter().map(|event| event.row.detail.as_str()).collect::<Vec<_>>(), ["8", "7", "6", "5"]);
    let page = history.events(None, Some(page[3].seq), 4).await.unwrap();
    assert_eq!(page.iter().map(|event| event.row.detail.as_str()).collect::<Vec<_>>(), ["4", "3", "2", "1"]);
    let one = history.events(Some(instance_id(1)), None, 0).await.unwrap();
    assert_eq!(one.iter().map(|event| event.row.detail.as_str()).collect::<Vec<_>>(), ["7", "4", "1"]);
    assert_eq!(db.text("SELECT what FROM instance_events WHERE seq = 1").await, "taken_over");

    let retention = Retention { daily_days: 10, ..Retention::default() };
    rolled_up(&mut store, retention, days_later(15)).await;
    let left = history.events(None, None, 0).await.unwrap();
    assert_eq!(left.iter().map(|event| event.row.detail.as_str()).collect::<Vec<_>>(), ["8", "7", "6", "5"]);
}

async fn transfers_alerts_and_reports_are_kept(db: &Db) {
    let mut store = db.open().await;
    let reports = [report(1, NOW), report(2, days_later(1))];
    let mut changes = vec![Change::Append(transfer(5)), Change::Append(alert_ended()), Change::Append(transfer(6))];
    changes.extend(
        reports.iter().map(|row| Change::Append(callgate::manager::domain::Journal::Report(Box::new(row.clone())))),
    );
    store.commit(&changes).await.unwrap();
    let history = store.history();
    let transfers = history.transfers(None, 0).await.unwrap();
    assert_eq!(transfers.iter().map(|transfer| transfer.row.quantity).collect::<Vec<_>>(), [6, 5]);
    assert_eq!(history.alerts_ended(None, 0).await.unwrap().len(), 1);
    let heads = history.reports(None, 0).await.unwrap();
    assert_eq!(
        heads.iter().map(|head| head.id.clone()).collect::<Vec<_>>(),
        [reports[1].id.to_string(), reports[0].id.to_string()]
    );
    assert_eq!(heads[0].kind, "compliance_warning");
    assert_eq!(history.report(&reports[0].id.to_string()).await.unwrap().as_ref(), Some(&reports[0]));
    assert_eq!(history.report("rp-0000000000000000").await.unwrap(), None);
    assert!(history.bytes().await.unwrap() > 10_000);
}
