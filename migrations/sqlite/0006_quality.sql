-- How the connections of those in a live session were, for support: what was measured of one over each ten seconds in which
-- media flowed. It goes with its session.

CREATE TABLE quality_step (
    session                TEXT    NOT NULL REFERENCES virtual_session (id),
    -- Its end.
    at                     INTEGER NOT NULL,
    participant            TEXT    NOT NULL,
    level                  TEXT    NOT NULL CHECK (level IN ('good', 'fair', 'poor', 'bad')),
    -- Why it was no better, and how much of that.
    reason                 TEXT,
    reason_value           INTEGER CHECK (reason_value >= 0),
    uplink_loss_permille   INTEGER CHECK (uplink_loss_permille BETWEEN 0 AND 1000),
    downlink_loss_permille INTEGER CHECK (downlink_loss_permille BETWEEN 0 AND 1000),
    uplink_jitter_ms       INTEGER,
    rtt_ms                 INTEGER,
    uplink_kbps            INTEGER NOT NULL,
    downlink_kbps          INTEGER NOT NULL,
    downlink_estimate_kbps INTEGER,
    video_height           INTEGER,
    PRIMARY KEY (session, at, participant),
    CHECK ((reason IS NULL) = (reason_value IS NULL))
) STRICT, WITHOUT ROWID;
