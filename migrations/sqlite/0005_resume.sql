-- What the devices of live sessions come back with: hashes only. Who reads this database gets in nowhere by it.

CREATE TABLE resume_key (
    session       TEXT  NOT NULL,
    participant   TEXT  NOT NULL,
    -- SHA-256 of the latest secret; and of the one it was got by, which stays good until the latest is used.
    current_hash  BLOB  NOT NULL CHECK (length(current_hash) = 32),
    previous_hash BLOB  CHECK (length(previous_hash) = 32),
    PRIMARY KEY (session, participant),
    FOREIGN KEY (session, participant) REFERENCES participant (session, id)
) STRICT, WITHOUT ROWID;
