CREATE TABLE metrics (
    -- When it was measured.
    at BIGINT PRIMARY KEY NOT NULL,
    -- Of all processors, in percent.
    cpu DOUBLE PRECISION NOT NULL,
    -- Of this process, in MiB.
    memory DOUBLE PRECISION NOT NULL,
    -- Nothing: the server is another process.
    connections BIGINT,
    -- Messages and edits, each minute.
    activity DOUBLE PRECISION NOT NULL,
    -- All that there ever were.
    total BIGINT NOT NULL
);

CREATE TABLE metric_limits (
    user_id BIGINT NOT NULL REFERENCES users (id),
    metric TEXT NOT NULL,
    above DOUBLE PRECISION NOT NULL,
    -- 1: it was told, and the value has not been below since.
    is_over BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, metric)
);
