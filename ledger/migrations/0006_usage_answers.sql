-- What is asked of usage: an account's minutes, and its errors.
SET LOCAL lock_timeout = '3s';

ALTER TABLE usage_events ADD COLUMN IF NOT EXISTS errors bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN IF NOT EXISTS errors bigint NOT NULL DEFAULT 0;

CREATE INDEX IF NOT EXISTS usage_events_account_id_started_at_idx
    ON usage_events (account_id, started_at);
