-- How far the passes over Stripe's lists have come.
SET LOCAL lock_timeout = '3s';

CREATE TABLE IF NOT EXISTS stripe_passes (
    name text PRIMARY KEY,
    due_at timestamptz NOT NULL DEFAULT now(),
    began_at timestamptz,
    finished_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    cursor bigint,
    newest bigint,
    list text NOT NULL DEFAULT '',
    after text NOT NULL DEFAULT '',
    passed bigint NOT NULL DEFAULT 0,
    found bigint NOT NULL DEFAULT 0
);
