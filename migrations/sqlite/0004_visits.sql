-- Asynchronous visits, what was written in them, and the threads of live sessions. What was written is sealed: a key's
-- number, and bytes that open for their place alone.

CREATE TABLE async_visit (
    id                TEXT    NOT NULL PRIMARY KEY,
    tenant            TEXT    NOT NULL REFERENCES tenant (id),
    patient_id        TEXT    NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 128),
    provider_ref      TEXT    NOT NULL CHECK (length(provider_ref) BETWEEN 1 AND 128),
    -- The session it continues. It may be gone by now: that has a time of its own.
    session           TEXT,
    status            TEXT    NOT NULL,
    -- Digests of what is written so far; null once it was submitted.
    draft             TEXT    CHECK (json_valid(draft)),
    response_text     TEXT,
    response_by_kind  TEXT,
    response_by_id    TEXT,
    encounter         TEXT    CHECK (length(encounter) BETWEEN 1 AND 128),
    created_at        INTEGER NOT NULL,
    submitted_at      INTEGER,
    review_started_at INTEGER,
    reviewer          TEXT,
    responded_at      INTEGER,
    closed_at         INTEGER,
    version           INTEGER NOT NULL CHECK (version >= 1),
    updated_at        INTEGER NOT NULL,
    -- When its content went, by the tenant's retention.
    content_purged_at INTEGER
) STRICT;

CREATE INDEX async_visit_list ON async_visit (tenant, id);
CREATE INDEX async_visit_of_patient ON async_visit (tenant, patient_id, id);
CREATE INDEX async_visit_of_provider ON async_visit (tenant, provider_ref, id);
CREATE INDEX async_visit_by_status ON async_visit (tenant, status, id);

-- What was submitted, as digests. Never changes.
CREATE TABLE async_visit_revision (
    visit        TEXT    NOT NULL REFERENCES async_visit (id),
    number       INTEGER NOT NULL CHECK (number >= 1),
    content      TEXT    NOT NULL CHECK (json_valid(content)),
    submitted_at INTEGER NOT NULL,
    actor_kind   TEXT    NOT NULL,
    actor_id     TEXT,
    PRIMARY KEY (visit, number)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER async_visit_revision_is_immutable BEFORE UPDATE ON async_visit_revision
BEGIN SELECT RAISE(ABORT, 'a revision is never edited'); END;

-- Texts: `draft`, `revision/1`, `response`; and `salt`, without which a digest tells nothing of a text.
CREATE TABLE async_visit_part (
    visit  TEXT    NOT NULL REFERENCES async_visit (id),
    part   TEXT    NOT NULL,
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL,
    PRIMARY KEY (visit, part)
) STRICT, WITHOUT ROWID;

CREATE INDEX async_visit_part_by_key ON async_visit_part (key_id);

-- Images, whose bytes are in a file of that digest.
CREATE TABLE async_visit_image (
    visit            TEXT    NOT NULL REFERENCES async_visit (id),
    digest           TEXT    NOT NULL CHECK (length(digest) = 64),
    media_type       TEXT    NOT NULL,
    bytes            INTEGER NOT NULL CHECK (bytes > 0),
    width            INTEGER NOT NULL CHECK (width > 0),
    height           INTEGER NOT NULL CHECK (height > 0),
    key_id           INTEGER NOT NULL,
    uploaded_at      INTEGER NOT NULL,
    uploaded_by_kind TEXT    NOT NULL,
    uploaded_by_id   TEXT,
    PRIMARY KEY (visit, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX async_visit_image_by_key ON async_visit_image (key_id);

-- What was said in writing in a live session.
CREATE TABLE thread_line (
    session  TEXT    NOT NULL REFERENCES virtual_session (id),
    position INTEGER NOT NULL CHECK (position >= 1),
    at       INTEGER NOT NULL,
    author   TEXT    NOT NULL,
    -- Who was in when it was said.
    audience TEXT    NOT NULL CHECK (json_valid(audience)),
    key_id   INTEGER NOT NULL,
    sealed   BLOB    NOT NULL,
    PRIMARY KEY (session, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX thread_line_by_key ON thread_line (key_id);

-- What goes by its age is found by these.
CREATE INDEX virtual_session_by_end ON virtual_session (tenant, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX audit_by_age ON audit (tenant, at);
