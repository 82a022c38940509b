-- Version 2. Usage by time, of all instances; and of pools, by the hour.

-- Pages go by time, then by the rest of the key.
CREATE INDEX usage_reports_by_time ON usage_reports (until_s, instance, tag);
CREATE INDEX usage_daily_by_time ON usage_daily (day, instance, tag);

-- Sums over the instances of a tag in a virtual account, of hours since 1970: seconds that reports cover, reports that ended,
-- and license seconds. What was reported before this version is not in it.
CREATE TABLE usage_hours (
    account BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    covered_s BIGINT NOT NULL,
    reports BIGINT NOT NULL,
    requested_s BIGINT NOT NULL,
    reported_s BIGINT NOT NULL,
    observed_s BIGINT NOT NULL,
    p95_s BIGINT NOT NULL,
    PRIMARY KEY (account, tag, hour)
) /*sqlite: WITHOUT ROWID*/;
