CREATE TABLE notifications (
    id TEXT PRIMARY KEY NOT NULL,
    type TEXT NOT NULL,
    notifiable_type TEXT NOT NULL,
    notifiable_id TEXT NOT NULL,
    data TEXT NOT NULL,
    read_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE INDEX notifications_newest
    ON notifications (notifiable_type, notifiable_id, created_at, id);

CREATE INDEX notifications_unread
    ON notifications (notifiable_type, notifiable_id, created_at, id) WHERE read_at IS NULL;
