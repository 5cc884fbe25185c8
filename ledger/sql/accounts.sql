-- name: create_account
-- The job makes it a customer of Stripe's, once there is a key to ask with.
WITH created AS (
    INSERT INTO accounts (id, name, plan) VALUES ($1, $2, $3) RETURNING id
)
INSERT INTO stripe_customer_jobs (account_id) SELECT id FROM created;

-- name: find_accounts
SELECT
    id, name, created_at, coalesce(stripe_plan, plan) AS plan, limits, concurrency,
    monthly_budget, own_budget, version, plan AS operator_plan, stripe_plan, stripe_customer,
    coalesce((SELECT sum(amount) FROM credits WHERE account_id = accounts.id), 0)::bigint AS credit
FROM accounts
WHERE id = ANY($1::uuid[]);

-- name: list_accounts
SELECT
    id, name, created_at, coalesce(stripe_plan, plan) AS plan, limits, concurrency,
    monthly_budget, own_budget, version, plan AS operator_plan, stripe_plan, stripe_customer,
    coalesce(credit, 0)::bigint AS credit
FROM accounts
LEFT JOIN (
    SELECT account_id, sum(amount) AS credit FROM credits GROUP BY account_id
) AS granted ON account_id = id
ORDER BY created_at, id;

-- name: next_version
-- Whoever changes anything of an account begins here: the row's lock puts the changes,
-- and what the outbox says about them, into one order.
UPDATE accounts SET version = version + 1 WHERE id = $1 RETURNING version;

-- name: change_account
UPDATE accounts
SET plan = $2, limits = $3::jsonb, concurrency = $4, monthly_budget = $5, own_budget = $6
WHERE id = $1;

-- name: grant_credit
INSERT INTO credits (id, account_id, amount, reason) VALUES ($1, $2, $3, $4)
RETURNING id, account_id, amount, reason, created_at;

-- name: list_credits
SELECT id, account_id, amount, reason, created_at
FROM credits
WHERE account_id = $1
ORDER BY created_at DESC, id DESC
LIMIT $2;

-- name: read_spent
SELECT coalesce(sum(cost), 0)::bigint FROM usage_totals WHERE account_id = $1;
