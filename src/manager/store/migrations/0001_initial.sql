-- Version 1. For both databases: BIGINT and TEXT alone. Times are milliseconds since 1970, or seconds where a name ends
-- in _s. A record's body is the whole object as JSON; the columns beside it are for people's queries.

-- Who writes: a manager that finds another number here than its own was taken over, and ends.
CREATE TABLE store_state (
    id BIGINT NOT NULL PRIMARY KEY,
    writer BIGINT NOT NULL,
    commits BIGINT NOT NULL,
    restored BIGINT NOT NULL,
    padding TEXT NOT NULL
);
INSERT INTO store_state (id, writer, commits, restored, padding) VALUES (1, 0, 0, 0, '');

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    policy_version BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE virtual_accounts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE tags (
    id TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE lots (
    id TEXT NOT NULL PRIMARY KEY,
    virtual_account TEXT NOT NULL,
    tag TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    body TEXT NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    virtual_account TEXT NOT NULL,
    uses BIGINT NOT NULL,
    max_uses BIGINT,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    body TEXT NOT NULL
);

CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    virtual_account TEXT NOT NULL,
    state TEXT NOT NULL,
    udi TEXT NOT NULL,
    hostname TEXT,
    profile TEXT NOT NULL,
    registered_at BIGINT NOT NULL,
    last_contact BIGINT NOT NULL,
    grant_seq BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE machines (
    id TEXT NOT NULL PRIMARY KEY,
    eval_used_s BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    body TEXT NOT NULL
);

CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    virtual_account TEXT,
    raised_at BIGINT NOT NULL,
    due BIGINT,
    body TEXT NOT NULL
);

CREATE TABLE signing_keys (
    id TEXT NOT NULL PRIMARY KEY,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE settings (
    id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE audit_head (
    id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);

-- Appended, never changed: each entry's hash is over the one before it.
CREATE TABLE audit_log (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE transfers (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    from_account TEXT NOT NULL,
    to_account TEXT NOT NULL,
    tag TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE instance_events (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    instance TEXT NOT NULL,
    what TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX instance_events_of ON instance_events (instance, seq);

CREATE TABLE alerts_ended (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    alert TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE reports (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
);

-- Short numbers for long names, so that a report's row is small.
CREATE TABLE usage_instances (
    number BIGINT NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL UNIQUE
);

CREATE TABLE usage_tags (
    number BIGINT NOT NULL PRIMARY KEY,
    tag TEXT NOT NULL UNIQUE
);

CREATE TABLE usage_accounts (
    number BIGINT NOT NULL PRIMARY KEY,
    virtual_account TEXT NOT NULL UNIQUE
);

-- One row for each tag of a report, kept for 30 days. Clustered by instance: its history is one range.
CREATE TABLE usage_reports (
    instance BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    until_s BIGINT NOT NULL,
    account BIGINT NOT NULL,
    span_s BIGINT NOT NULL,
    requested BIGINT NOT NULL,
    reported BIGINT NOT NULL,
    observed BIGINT NOT NULL,
    p95 BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    peak_before_s BIGINT,
    next BIGINT,
    received_after_s BIGINT NOT NULL,
    PRIMARY KEY (instance, tag, until_s)
) /*sqlite: WITHOUT ROWID*/;

-- What becomes of them then: the highest of each day (UTC).
CREATE TABLE usage_daily (
    instance BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    day BIGINT NOT NULL,
    account BIGINT NOT NULL,
    reports BIGINT NOT NULL,
    requested BIGINT NOT NULL,
    reported BIGINT NOT NULL,
    observed BIGINT NOT NULL,
    p95 BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    PRIMARY KEY (instance, tag, day)
) /*sqlite: WITHOUT ROWID*/;
