-- Orders of a shop.
CREATE TABLE orders (
    id TEXT PRIMARY KEY NOT NULL,
    -- In centavos.
    total BIGINT NOT NULL,
    -- Milliseconds since 1970.
    created_at BIGINT NOT NULL,
    -- pending or shipped
    status TEXT NOT NULL
);

CREATE INDEX orders_by_time ON orders (created_at);

ALTER TABLE metrics ADD COLUMN sales_today DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN active_users BIGINT NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN pending_orders BIGINT NOT NULL DEFAULT 0;

-- Time of the last request, accurate to a minute.
ALTER TABLE users ADD COLUMN active_at BIGINT NOT NULL DEFAULT 0;
