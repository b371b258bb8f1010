CREATE TABLE documents (
    id BIGINT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    -- The number of its last update; each update takes the next one, so there are no gaps.
    last_seq BIGINT NOT NULL DEFAULT 0,
    -- All updates up to snapshot_seq in one, as base64. Nothing: none yet.
    snapshot TEXT,
    snapshot_seq BIGINT NOT NULL DEFAULT 0,
    edited_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE document_members (
    document_id BIGINT NOT NULL REFERENCES documents (id),
    user_id BIGINT NOT NULL REFERENCES users (id),
    PRIMARY KEY (document_id, user_id)
);

-- What is not in the snapshot yet: updates of Yjs, as base64.
CREATE TABLE document_updates (
    document_id BIGINT NOT NULL REFERENCES documents (id),
    seq BIGINT NOT NULL,
    author_id BIGINT NOT NULL REFERENCES users (id),
    data TEXT NOT NULL,
    PRIMARY KEY (document_id, seq)
);
