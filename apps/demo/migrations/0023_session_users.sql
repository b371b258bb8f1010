-- The session's user, so that the number of a user's sessions has a limit.
ALTER TABLE sessions ADD COLUMN user_id BIGINT;
CREATE INDEX sessions_user ON sessions (user_id, expires_at);
