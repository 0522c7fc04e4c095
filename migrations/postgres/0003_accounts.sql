-- Accounts of a clinic's own staff, what they are signed in with, and the keys of programs.
--
-- Of everything that lets somebody in there is only a hash here: who reads this file gets in nowhere by it.

CREATE TABLE staff_account (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenant (id),
    -- In lower case, and one on the server: the page to sign in on asks for no clinic.
    login        TEXT    NOT NULL UNIQUE CHECK (length(login) BETWEEN 3 AND 100),
    display_name TEXT    NOT NULL CHECK (length(display_name) BETWEEN 1 AND 100),
    role         TEXT    NOT NULL CHECK (role IN ('admin', 'provider', 'front_desk')),
    -- Whose desk a provider sits at, in the words of the sessions.
    provider_ref TEXT    CHECK (length(provider_ref) BETWEEN 1 AND 128),
    disabled     BOOLEAN NOT NULL,
    -- Argon2id in the PHC form; null until one was set by a link.
    password     TEXT,
    -- Wrong passwords in a row, and until when no other is looked at.
    failures     BIGINT  NOT NULL CHECK (failures >= 0),
    locked_until BIGINT,
    created_at   BIGINT  NOT NULL
);

CREATE INDEX staff_account_of_tenant ON staff_account (tenant, id);

-- Who is signed in, by SHA-256 of what the cookie says.
CREATE TABLE staff_session (
    hash       BYTEA   NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL REFERENCES staff_account (id),
    created_at BIGINT  NOT NULL,
    seen_at    BIGINT  NOT NULL
);

CREATE INDEX staff_session_of_account ON staff_session (account, created_at);
CREATE INDEX staff_session_by_age ON staff_session (created_at);

-- The link a password is set by, one for an account: a new one takes the place of the last.
CREATE TABLE one_time_link (
    account    TEXT    NOT NULL PRIMARY KEY REFERENCES staff_account (id),
    hash       BYTEA   NOT NULL UNIQUE,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL
);

CREATE TABLE api_key (
    id             TEXT    NOT NULL PRIMARY KEY,
    tenant         TEXT    NOT NULL REFERENCES tenant (id),
    name           TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- What it may do, with blanks between.
    scopes         TEXT    NOT NULL,
    -- SHA-256 of the secret; and of the one before, while both are good.
    secret         BYTEA   NOT NULL,
    former_secret  BYTEA,
    former_until   BIGINT,
    created_by     TEXT    NOT NULL,
    created_at     BIGINT  NOT NULL,
    expires_at     BIGINT,
    last_used_at   BIGINT,
    -- It stays then, for the audit to name.
    revoked_at     BIGINT
);

CREATE INDEX api_key_of_tenant ON api_key (tenant, id);
