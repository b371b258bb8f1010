-- NULL: as it was sent. The body of a deleted message is empty.
ALTER TABLE messages ADD COLUMN changed_at BIGINT;
-- Number of changes, so that pages ignore a change that arrives late.
ALTER TABLE messages ADD COLUMN version BIGINT NOT NULL DEFAULT 0;

CREATE TABLE message_reactions (
    message_id TEXT NOT NULL REFERENCES messages (id),
    emoji TEXT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id),
    PRIMARY KEY (message_id, emoji, user_id)
);
