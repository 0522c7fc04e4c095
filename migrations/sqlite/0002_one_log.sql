-- One log of events and one outbox for all that has a version; configurations with versions of their own; the audit,
-- answers to be given again, sealed secrets.

-- Everything that happened, as the domain says it.
CREATE TABLE event (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenant (id),
    aggregate    TEXT    NOT NULL,
    aggregate_id TEXT    NOT NULL,
    -- The version it led to, and its place among the events of that version.
    version      INTEGER NOT NULL CHECK (version >= 1),
    ordinal      INTEGER NOT NULL CHECK (ordinal >= 0),
    at           INTEGER NOT NULL,
    actor_kind   TEXT    NOT NULL,
    actor_id     TEXT,
    type         TEXT    NOT NULL,
    -- Whom it is about, if it is about one participant.
    participant  TEXT,
    payload      TEXT    NOT NULL CHECK (json_valid(payload)),
    -- The request it came by, if it was one.
    request      TEXT,
    UNIQUE (aggregate_id, aggregate, version, ordinal)
) STRICT;

INSERT INTO event (id, tenant, aggregate, aggregate_id, version, ordinal, at, actor_kind, actor_id, type, participant,
    payload)
SELECT e.id, s.tenant, 'session', e.session, e.version, e.ordinal, e.at, e.actor_kind, e.actor_id, e.type,
    json_extract(e.payload, '$.participant'), e.payload
FROM session_event e JOIN virtual_session s ON s.id = e.session;

DROP TABLE session_event;

CREATE INDEX event_of_tenant ON event (tenant, id);

CREATE TRIGGER event_is_immutable BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never edited'); END;

-- What others are to be told: CloudEvents 1.0 in JSON.
CREATE TABLE outbox_of_all (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenant (id),
    aggregate    TEXT    NOT NULL,
    aggregate_id TEXT    NOT NULL,
    version      INTEGER NOT NULL CHECK (version >= 1),
    ordinal      INTEGER NOT NULL CHECK (ordinal >= 0),
    type         TEXT    NOT NULL,
    payload      TEXT    NOT NULL CHECK (json_valid(payload)),
    created_at   INTEGER NOT NULL,
    -- Its place in the feed of its tenant, given after it was committed.
    position     INTEGER CHECK (position >= 1),
    UNIQUE (aggregate_id, aggregate, version, ordinal),
    UNIQUE (tenant, position)
) STRICT;

INSERT INTO outbox_of_all (id, tenant, aggregate, aggregate_id, version, ordinal, type, payload, created_at)
SELECT o.id, s.tenant, 'session', o.session, o.version, o.ordinal, o.type, o.payload, o.created_at
FROM outbox o JOIN virtual_session s ON s.id = o.session;

DROP TABLE outbox;
ALTER TABLE outbox_of_all RENAME TO outbox;

CREATE INDEX outbox_without_position ON outbox (aggregate_id, version, ordinal) WHERE position IS NULL;

-- The last position given in each feed.
CREATE TABLE feed_head (
    tenant   TEXT    NOT NULL PRIMARY KEY REFERENCES tenant (id),
    position INTEGER NOT NULL CHECK (position >= 1)
) STRICT;

-- The configuration of each tenant; each session keeps a copy of the rules in it.
CREATE TABLE tenant_config (
    tenant           TEXT    NOT NULL PRIMARY KEY REFERENCES tenant (id),
    version          INTEGER NOT NULL CHECK (version >= 1),
    config           TEXT    NOT NULL CHECK (json_valid(config)),
    -- Whether the secret is set, and since when. The secret is in sealed_secret.
    jitsi_jwt_secret TEXT    NOT NULL CHECK (json_valid(jitsi_jwt_secret)),
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT;

INSERT INTO tenant_config (tenant, version, config, jitsi_jwt_secret, created_at, updated_at)
SELECT id, 1, json_object('policy', json(policy)), json_object('state', 'absent'), created_at, created_at FROM tenant;

ALTER TABLE tenant DROP COLUMN policy;

-- Secrets of tenants, under the master key of that number.
CREATE TABLE sealed_secret (
    tenant TEXT    NOT NULL REFERENCES tenant (id),
    name   TEXT    NOT NULL,
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL,
    set_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Who did what, where no event says so.
CREATE TABLE audit (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenant (id),
    at           INTEGER NOT NULL,
    actor_kind   TEXT    NOT NULL,
    actor_id     TEXT,
    action       TEXT    NOT NULL,
    subject_kind TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    session      TEXT,
    request      TEXT
) STRICT;

CREATE INDEX audit_of_tenant ON audit (tenant, id);

CREATE TRIGGER audit_is_immutable BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'a line of the audit is never edited'); END;

-- What was answered to requests that may come again.
CREATE TABLE idempotency (
    tenant          TEXT    NOT NULL REFERENCES tenant (id),
    caller          TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_hash    BLOB    NOT NULL,
    status          INTEGER NOT NULL,
    sealed_answer   BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, caller, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- What the domain knows more of a session by now.
ALTER TABLE virtual_session ADD COLUMN fallback_since INTEGER;
ALTER TABLE virtual_session ADD COLUMN recordings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(recordings));
ALTER TABLE virtual_session ADD COLUMN encounter TEXT CHECK (length(encounter) BETWEEN 1 AND 128);

-- Lists of a tenant are read by these.
CREATE INDEX virtual_session_list ON virtual_session (tenant, id);
CREATE INDEX virtual_session_of_patient ON virtual_session (tenant, patient_id, id);
CREATE INDEX virtual_session_of_provider ON virtual_session (tenant, provider_ref, id);
CREATE INDEX virtual_session_by_start ON virtual_session (tenant, coalesce(scheduled_start, created_at));
