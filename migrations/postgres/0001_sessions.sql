-- Tenants, virtual sessions with all that belongs to them, what happened, and what others are told of it.
--
-- Times are whole milliseconds since 1970, UTC, and identifiers are text, as in the other database: one set of
-- statements is for both. A migration that was released is never edited; another follows it.

CREATE TABLE tenant (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    created_at BIGINT NOT NULL
);

-- The configuration of each tenant; each session keeps a copy of the rules in it.
CREATE TABLE tenant_config (
    tenant           TEXT   NOT NULL PRIMARY KEY REFERENCES tenant (id),
    version          BIGINT NOT NULL CHECK (version >= 1),
    config           TEXT   NOT NULL CHECK (config::json IS NOT NULL),
    -- Whether the secret is set, and since when. The secret is in sealed_secret.
    jitsi_jwt_secret TEXT   NOT NULL CHECK (jitsi_jwt_secret::json IS NOT NULL),
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);

-- Secrets of tenants, under the master key of that number.
CREATE TABLE sealed_secret (
    tenant TEXT   NOT NULL REFERENCES tenant (id),
    name   TEXT   NOT NULL,
    key_id BIGINT NOT NULL,
    sealed BYTEA  NOT NULL,
    set_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE virtual_session (
    id                       TEXT    NOT NULL PRIMARY KEY,
    tenant                   TEXT    NOT NULL REFERENCES tenant (id),
    patient_id               TEXT    NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 128),
    provider_ref             TEXT    NOT NULL CHECK (length(provider_ref) BETWEEN 1 AND 128),
    scheduled_start          BIGINT,
    scheduled_end            BIGINT CHECK (scheduled_end IS NULL OR scheduled_end > scheduled_start),
    created_at               BIGINT  NOT NULL,
    communication            TEXT    NOT NULL,
    backend                  TEXT    NOT NULL,
    room                     TEXT    NOT NULL CHECK (length(room) BETWEEN 1 AND 128),
    recording_enabled        BOOLEAN NOT NULL,
    policy                   TEXT    NOT NULL CHECK (policy::json IS NOT NULL),
    status                   TEXT    NOT NULL,
    end_reason               TEXT,
    provider_first_joined_at BIGINT,
    started_at               BIGINT,
    ended_at                 BIGINT,
    version                  BIGINT  NOT NULL CHECK (version >= 1),
    -- When time alone will change it, as its owner last knew; null while those who matter are connected.
    next_deadline            BIGINT,
    fallback_since           BIGINT,
    recordings               TEXT    NOT NULL DEFAULT '[]' CHECK (recordings::json IS NOT NULL),
    encounter                TEXT    CHECK (length(encounter) BETWEEN 1 AND 128),
    -- Two sessions in one room would be two patients in one room.
    UNIQUE (tenant, backend, room)
);

CREATE INDEX virtual_session_due ON virtual_session (next_deadline) WHERE next_deadline IS NOT NULL;
CREATE INDEX virtual_session_live ON virtual_session (id) WHERE status IN ('waiting', 'active');
CREATE INDEX virtual_session_of_tenant ON virtual_session (tenant, created_at);
CREATE INDEX virtual_session_list ON virtual_session (tenant, id);
CREATE INDEX virtual_session_of_patient ON virtual_session (tenant, patient_id, id);
CREATE INDEX virtual_session_of_provider ON virtual_session (tenant, provider_ref, id);
CREATE INDEX virtual_session_by_start ON virtual_session (tenant, (coalesce(scheduled_start, created_at)));

CREATE TABLE participant (
    session         TEXT   NOT NULL REFERENCES virtual_session (id),
    id              TEXT   NOT NULL,
    -- The order of invitation, from 0.
    position        BIGINT NOT NULL CHECK (position >= 0),
    role            TEXT   NOT NULL,
    standing        TEXT   NOT NULL,
    epoch           BIGINT NOT NULL CHECK (epoch >= 0),
    first_joined_at BIGINT,
    joined_at       BIGINT,
    admitted_at     BIGINT,
    left_at         BIGINT,
    denied          TEXT,
    PRIMARY KEY (session, id),
    UNIQUE (session, position)
);

-- Names, apart from everything else: nothing that is copied, sent or logged is read from here.
CREATE TABLE participant_profile (
    session      TEXT NOT NULL,
    participant  TEXT NOT NULL,
    display_name TEXT NOT NULL CHECK (length(display_name) BETWEEN 1 AND 100),
    relationship TEXT CHECK (length(relationship) BETWEEN 1 AND 100),
    PRIMARY KEY (session, participant),
    FOREIGN KEY (session, participant) REFERENCES participant (session, id)
);

CREATE TABLE consent (
    session          TEXT    NOT NULL REFERENCES virtual_session (id),
    position         BIGINT  NOT NULL CHECK (position >= 0),
    consent_type     TEXT    NOT NULL,
    granted          BOOLEAN NOT NULL,
    version          TEXT    NOT NULL,
    captured_at      BIGINT  NOT NULL,
    captured_by_kind TEXT    NOT NULL,
    captured_by_id   TEXT,
    PRIMARY KEY (session, position)
);

-- Everything that happened, as the domain says it.
CREATE TABLE event (
    id           TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL REFERENCES tenant (id),
    aggregate    TEXT   NOT NULL,
    aggregate_id TEXT   NOT NULL,
    -- The version it led to, and its place among the events of that version.
    version      BIGINT NOT NULL CHECK (version >= 1),
    ordinal      BIGINT NOT NULL CHECK (ordinal >= 0),
    at           BIGINT NOT NULL,
    actor_kind   TEXT   NOT NULL,
    actor_id     TEXT,
    type         TEXT   NOT NULL,
    -- Whom it is about, if it is about one participant.
    participant  TEXT,
    payload      TEXT   NOT NULL CHECK (payload::json IS NOT NULL),
    -- The request it came by, if it was one.
    request      TEXT,
    UNIQUE (aggregate_id, aggregate, version, ordinal)
);

CREATE INDEX event_of_tenant ON event (tenant, id);

-- What others are to be told: CloudEvents 1.0 in JSON.
CREATE TABLE outbox (
    id           TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL REFERENCES tenant (id),
    aggregate    TEXT   NOT NULL,
    aggregate_id TEXT   NOT NULL,
    version      BIGINT NOT NULL CHECK (version >= 1),
    ordinal      BIGINT NOT NULL CHECK (ordinal >= 0),
    type         TEXT   NOT NULL,
    payload      TEXT   NOT NULL CHECK (payload::json IS NOT NULL),
    created_at   BIGINT NOT NULL,
    -- Its place in the feed of its tenant, given after it was committed.
    position     BIGINT CHECK (position >= 1),
    UNIQUE (aggregate_id, aggregate, version, ordinal),
    UNIQUE (tenant, position)
);

CREATE INDEX outbox_without_position ON outbox (aggregate_id, version, ordinal) WHERE position IS NULL;

-- The last position given in each feed.
CREATE TABLE feed_head (
    tenant   TEXT   NOT NULL PRIMARY KEY REFERENCES tenant (id),
    position BIGINT NOT NULL CHECK (position >= 1)
);

-- Who did what, where no event says so.
CREATE TABLE audit (
    id           TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL REFERENCES tenant (id),
    at           BIGINT NOT NULL,
    actor_kind   TEXT   NOT NULL,
    actor_id     TEXT,
    action       TEXT   NOT NULL,
    subject_kind TEXT   NOT NULL,
    subject      TEXT   NOT NULL,
    session      TEXT,
    request      TEXT
);

CREATE INDEX audit_of_tenant ON audit (tenant, id);

-- What was answered to requests that may come again.
CREATE TABLE idempotency (
    tenant          TEXT   NOT NULL REFERENCES tenant (id),
    caller          TEXT   NOT NULL,
    idempotency_key TEXT   NOT NULL,
    request_hash    BYTEA  NOT NULL,
    status          BIGINT NOT NULL,
    sealed_answer   BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (tenant, caller, idempotency_key)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of % is never edited', TG_TABLE_NAME;
END
$$;

CREATE TRIGGER consent_is_immutable BEFORE UPDATE ON consent FOR EACH ROW EXECUTE FUNCTION refuse_edit();
CREATE TRIGGER event_is_immutable BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION refuse_edit();
CREATE TRIGGER audit_is_immutable BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_edit();
