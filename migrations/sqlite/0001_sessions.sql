-- Tenants, virtual sessions with all that belongs to them, and what happened.
--
-- Times are whole milliseconds since 1970, UTC. Identifiers of ours are UUIDs as text, hyphenated and in lower case: a
-- person with a shell should be able to read this. A migration that was released is never edited; another follows it.

-- Whose database this is: 'VEST'. What does not have it is not touched.
PRAGMA application_id = 1447383892;

CREATE TABLE tenant (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    created_at INTEGER NOT NULL,
    -- The rules of sessions to come; each session keeps a copy of its own.
    policy     TEXT    NOT NULL CHECK (json_valid(policy))
) STRICT;

CREATE TABLE virtual_session (
    id                       TEXT    NOT NULL PRIMARY KEY,
    tenant                   TEXT    NOT NULL REFERENCES tenant (id),
    patient_id               TEXT    NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 128),
    provider_ref             TEXT    NOT NULL CHECK (length(provider_ref) BETWEEN 1 AND 128),
    scheduled_start          INTEGER,
    scheduled_end            INTEGER CHECK (scheduled_end IS NULL OR scheduled_end > scheduled_start),
    created_at               INTEGER NOT NULL,
    communication            TEXT    NOT NULL,
    backend                  TEXT    NOT NULL,
    room                     TEXT    NOT NULL CHECK (length(room) BETWEEN 1 AND 128),
    recording_enabled        INTEGER NOT NULL CHECK (recording_enabled IN (0, 1)),
    policy                   TEXT    NOT NULL CHECK (json_valid(policy)),
    status                   TEXT    NOT NULL,
    end_reason               TEXT,
    provider_first_joined_at INTEGER,
    started_at               INTEGER,
    ended_at                 INTEGER,
    version                  INTEGER NOT NULL CHECK (version >= 1),
    -- When time alone will change it, as its owner last knew; null while those who matter are connected.
    next_deadline            INTEGER,
    -- Two sessions in one room would be two patients in one room.
    UNIQUE (tenant, backend, room)
) STRICT;

CREATE INDEX virtual_session_due ON virtual_session (next_deadline) WHERE next_deadline IS NOT NULL;
CREATE INDEX virtual_session_live ON virtual_session (id) WHERE status IN ('waiting', 'active');
CREATE INDEX virtual_session_of_tenant ON virtual_session (tenant, created_at);

CREATE TABLE participant (
    session         TEXT    NOT NULL REFERENCES virtual_session (id),
    id              TEXT    NOT NULL,
    -- The order of invitation, from 0.
    position        INTEGER NOT NULL CHECK (position >= 0),
    role            TEXT    NOT NULL,
    standing        TEXT    NOT NULL,
    epoch           INTEGER NOT NULL CHECK (epoch >= 0),
    first_joined_at INTEGER,
    joined_at       INTEGER,
    admitted_at     INTEGER,
    left_at         INTEGER,
    denied          TEXT,
    PRIMARY KEY (session, id),
    UNIQUE (session, position)
) STRICT, WITHOUT ROWID;

-- Names, apart from everything else: nothing that is copied, sent or logged is read from here.
CREATE TABLE participant_profile (
    session      TEXT NOT NULL,
    participant  TEXT NOT NULL,
    display_name TEXT NOT NULL CHECK (length(display_name) BETWEEN 1 AND 100),
    relationship TEXT CHECK (length(relationship) BETWEEN 1 AND 100),
    PRIMARY KEY (session, participant),
    FOREIGN KEY (session, participant) REFERENCES participant (session, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE consent (
    session          TEXT    NOT NULL REFERENCES virtual_session (id),
    position         INTEGER NOT NULL CHECK (position >= 0),
    consent_type     TEXT    NOT NULL,
    granted          INTEGER NOT NULL CHECK (granted IN (0, 1)),
    version          TEXT    NOT NULL,
    captured_at      INTEGER NOT NULL,
    captured_by_kind TEXT    NOT NULL,
    captured_by_id   TEXT,
    PRIMARY KEY (session, position)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER consent_is_immutable BEFORE UPDATE ON consent
BEGIN SELECT RAISE(ABORT, 'a consent is never edited'); END;

-- Everything that happened, as the domain says it.
CREATE TABLE session_event (
    id         TEXT    NOT NULL PRIMARY KEY,
    session    TEXT    NOT NULL REFERENCES virtual_session (id),
    -- The version the session had by it, and its place among the events of that version.
    version    INTEGER NOT NULL CHECK (version >= 1),
    ordinal    INTEGER NOT NULL CHECK (ordinal >= 0),
    at         INTEGER NOT NULL,
    actor_kind TEXT    NOT NULL,
    actor_id   TEXT,
    type       TEXT    NOT NULL,
    payload    TEXT    NOT NULL CHECK (json_valid(payload)),
    UNIQUE (session, version, ordinal)
) STRICT;

CREATE TRIGGER session_event_is_immutable BEFORE UPDATE ON session_event
BEGIN SELECT RAISE(ABORT, 'an event is never edited'); END;

-- What others are to be told: CloudEvents 1.0 in JSON. Of one session, in the order of version and ordinal.
CREATE TABLE outbox (
    id         TEXT    NOT NULL PRIMARY KEY,
    session    TEXT    NOT NULL REFERENCES virtual_session (id),
    version    INTEGER NOT NULL CHECK (version >= 1),
    ordinal    INTEGER NOT NULL CHECK (ordinal >= 0),
    type       TEXT    NOT NULL,
    payload    TEXT    NOT NULL CHECK (json_valid(payload)),
    created_at INTEGER NOT NULL,
    UNIQUE (session, version, ordinal)
) STRICT;
