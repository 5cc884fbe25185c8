-- Stripe's events as received, and the objects as the events leave them.
SET LOCAL lock_timeout = '3s';

CREATE TABLE IF NOT EXISTS stripe_events (
    id text PRIMARY KEY,
    type text NOT NULL,
    created timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    payload jsonb NOT NULL
);

CREATE TABLE IF NOT EXISTS stripe_objects (
    id text PRIMARY KEY,
    type text NOT NULL,
    customer text,
    stripe_created timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    event_id text NOT NULL,
    deleted boolean NOT NULL,
    object jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
