-- Customers that are to be made at Stripe, and what keeps a repeated click from being two.
SET LOCAL lock_timeout = '3s';

ALTER TABLE accounts ADD COLUMN IF NOT EXISTS stripe_attempts bigint NOT NULL DEFAULT 0;

CREATE TABLE IF NOT EXISTS stripe_customer_jobs (
    account_id uuid PRIMARY KEY REFERENCES accounts,
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    error text
);
CREATE INDEX IF NOT EXISTS stripe_customer_jobs_due_at_idx ON stripe_customer_jobs (due_at);

INSERT INTO stripe_customer_jobs (account_id)
SELECT id FROM accounts WHERE stripe_customer IS NULL
ON CONFLICT DO NOTHING;

CREATE INDEX IF NOT EXISTS stripe_objects_account_idx
ON stripe_objects ((object #>> '{metadata,tollgate_account}'))
WHERE type = 'customer' AND NOT deleted;

CREATE INDEX IF NOT EXISTS stripe_objects_number_idx ON stripe_objects ((object ->> 'number'))
WHERE type = 'invoice';

CREATE TABLE IF NOT EXISTS stripe_restored (
    export_id uuid NOT NULL,
    old_id text NOT NULL,
    new_id text NOT NULL,
    PRIMARY KEY (export_id, old_id)
);
