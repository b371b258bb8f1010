-- Stored updates with which a document could not be loaded, kept for the operator. seq is that of the update, or of
-- the last one in a snapshot.
CREATE TABLE rejected_updates (
    document_id BIGINT NOT NULL REFERENCES documents (id),
    seq BIGINT NOT NULL,
    data TEXT NOT NULL,
    rejected_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, seq)
);
