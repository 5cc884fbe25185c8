-- Which budgets were reported, and where to.
SET LOCAL lock_timeout = '3s';

CREATE TABLE IF NOT EXISTS budget_alerts (
    account_id uuid NOT NULL REFERENCES accounts,
    budget text NOT NULL,
    window_start timestamptz NOT NULL,
    amount bigint NOT NULL,
    percent smallint NOT NULL,
    reached_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, budget, window_start, amount, percent)
);

CREATE TABLE IF NOT EXISTS webhooks (
    account_id uuid PRIMARY KEY REFERENCES accounts,
    url text NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
