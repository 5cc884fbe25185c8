-- What subscriptions give, and what every account's terms were at any time.
SET LOCAL lock_timeout = '3s';

ALTER TABLE accounts ADD COLUMN IF NOT EXISTS stripe_plan text;
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS stripe_plan_until timestamptz;
CREATE INDEX IF NOT EXISTS accounts_stripe_plan_until_idx ON accounts (stripe_plan_until)
WHERE stripe_plan_until IS NOT NULL;

CREATE TABLE IF NOT EXISTS plan_changes (
    account_id uuid NOT NULL REFERENCES accounts,
    version bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    plan_before text,
    plan text NOT NULL,
    operator_plan text NOT NULL,
    stripe_plan text,
    limits jsonb NOT NULL,
    concurrency integer,
    monthly_budget bigint,
    own_budget bigint,
    why text NOT NULL,
    PRIMARY KEY (account_id, version)
);

CREATE TABLE IF NOT EXISTS plan_versions (
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    terms jsonb,
    PRIMARY KEY (name, at)
);

CREATE OR REPLACE TRIGGER plan_changes_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_changes
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER plan_versions_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_versions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- what is agreed today is the oldest that can be known
INSERT INTO plan_changes (
    account_id, version, plan, operator_plan, limits, concurrency, monthly_budget, own_budget, why
)
SELECT id, version, plan, plan, limits, concurrency, monthly_budget, own_budget, 'migration'
FROM accounts
ON CONFLICT DO NOTHING;
