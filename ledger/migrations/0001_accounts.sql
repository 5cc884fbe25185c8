-- Accounts and their keys.
-- A migration's transaction commits before it is marked as applied: each statement
-- must bear to be run a second time.
SET LOCAL lock_timeout = '3s';

CREATE TABLE IF NOT EXISTS accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS api_keys (
    id text PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    hash bytea NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE INDEX IF NOT EXISTS api_keys_account_id_idx ON api_keys (account_id);
