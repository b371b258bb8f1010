CREATE TABLE notifications (
    id UUID PRIMARY KEY,
    type TEXT NOT NULL,
    notifiable_type TEXT NOT NULL,
    notifiable_id TEXT NOT NULL,
    data JSONB NOT NULL,
    read_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX notifications_newest
    ON notifications (notifiable_type, notifiable_id, created_at, id);

CREATE INDEX notifications_unread
    ON notifications (notifiable_type, notifiable_id, created_at, id) WHERE read_at IS NULL;
