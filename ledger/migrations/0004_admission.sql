-- What accounts and keys may do, credit, what usage cost, and the outbox.
SET LOCAL lock_timeout = '3s';

ALTER TABLE accounts
    ADD COLUMN IF NOT EXISTS plan text NOT NULL DEFAULT 'default',
    ADD COLUMN IF NOT EXISTS limits jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS concurrency integer,
    ADD COLUMN IF NOT EXISTS monthly_budget bigint,
    ADD COLUMN IF NOT EXISTS own_budget bigint,
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 0;

ALTER TABLE api_keys
    ADD COLUMN IF NOT EXISTS scope text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS last_used_at timestamptz;

CREATE TABLE IF NOT EXISTS credits (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    amount bigint NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS credits_account_id_idx ON credits (account_id);

CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE usage_events ADD COLUMN IF NOT EXISTS cost bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN IF NOT EXISTS cost bigint NOT NULL DEFAULT 0;
