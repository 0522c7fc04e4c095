-- The thread as a channel of its own: each line of a writer once, images, and what is handed on to an asynchronous visit.

-- SHA-256 of the writer's own id of the line; null of lines from before.
ALTER TABLE thread_line ADD COLUMN client_hash BYTEA CHECK (length(client_hash) = 32);
-- The digest of its image.
ALTER TABLE thread_line ADD COLUMN image TEXT CHECK (length(image) = 64);
-- It came after the session was over.
ALTER TABLE thread_line ADD COLUMN late BOOLEAN NOT NULL DEFAULT FALSE;
-- The asynchronous visit it was handed on to.
ALTER TABLE thread_line ADD COLUMN visit TEXT;

CREATE UNIQUE INDEX thread_line_once ON thread_line (session, author, client_hash);
CREATE INDEX thread_line_with_image ON thread_line (session, image) WHERE image IS NOT NULL;

-- Images that were sent for lines, whose bytes are in a file of that digest.
CREATE TABLE thread_image (
    session     TEXT    NOT NULL REFERENCES virtual_session (id),
    digest      TEXT    NOT NULL CHECK (length(digest) = 64),
    -- Who sent it.
    owner       TEXT    NOT NULL,
    media_type  TEXT    NOT NULL,
    bytes       BIGINT  NOT NULL CHECK (bytes > 0),
    width       BIGINT  NOT NULL CHECK (width > 0),
    height      BIGINT  NOT NULL CHECK (height > 0),
    key_id      BIGINT  NOT NULL,
    uploaded_at BIGINT  NOT NULL,
    PRIMARY KEY (session, digest, owner)
);

CREATE INDEX thread_image_by_key ON thread_image (key_id);

-- Sessions whose thread is to be handed on.
CREATE TABLE thread_handover (
    session  TEXT    NOT NULL PRIMARY KEY REFERENCES virtual_session (id),
    -- How often it was asked for: what is asked while it is done is done once more.
    asked    BIGINT  NOT NULL,
    due_at   BIGINT  NOT NULL,
    attempts BIGINT  NOT NULL DEFAULT 0
);
