CREATE TABLE conversations (
    id BIGINT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    -- The number of its last message; each message takes the next one, so there are no gaps.
    last_seq BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE conversation_members (
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    user_id BIGINT NOT NULL REFERENCES users (id),
    -- What is above it is unread.
    read_seq BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation_id, user_id)
);

CREATE TABLE messages (
    -- Made by the page that wrote it: a message that is sent twice is stored once.
    id TEXT PRIMARY KEY NOT NULL,
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    seq BIGINT NOT NULL,
    author_id BIGINT NOT NULL REFERENCES users (id),
    body TEXT NOT NULL,
    sent_at BIGINT NOT NULL,
    UNIQUE (conversation_id, seq)
);
