-- name: accounts
-- What was spent becomes a correction of the credit: the usage itself is not exported.
SELECT to_jsonb(found) FROM (
    SELECT
        id, name, created_at, coalesce(stripe_plan, plan) AS plan, plan AS operator_plan,
        stripe_plan, limits, concurrency, monthly_budget, own_budget, stripe_customer,
        coalesce(
            (SELECT sum(cost) FROM usage_totals WHERE account_id = accounts.id), 0
        )::bigint AS spent
    FROM accounts
    ORDER BY created_at, id
) AS found;

-- name: api_keys
SELECT to_jsonb(api_keys) FROM api_keys ORDER BY created_at, id;

-- name: credits
SELECT to_jsonb(credits) FROM credits ORDER BY created_at, id;

-- name: webhooks
SELECT to_jsonb(webhooks) FROM webhooks ORDER BY account_id;

-- name: objects
SELECT object FROM stripe_objects WHERE type = $1 AND NOT deleted ORDER BY object -> 'created', id;

-- name: restore_account
WITH created AS (
    INSERT INTO accounts (
        id, name, created_at, plan, limits, concurrency, monthly_budget, own_budget
    )
    SELECT id, name, created_at, $1::jsonb ->> 'operator_plan', limits, concurrency,
        monthly_budget, own_budget
    FROM jsonb_populate_record(NULL::accounts, $1::jsonb)
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO stripe_customer_jobs (account_id)
SELECT id FROM created WHERE $1::jsonb ->> 'stripe_customer' IS NULL;

-- name: restore_api_key
INSERT INTO api_keys
SELECT * FROM jsonb_populate_record(NULL::api_keys, $1::jsonb)
ON CONFLICT DO NOTHING;

-- name: restore_credit
INSERT INTO credits
SELECT * FROM jsonb_populate_record(NULL::credits, $1::jsonb)
ON CONFLICT DO NOTHING;

-- name: restore_webhook
INSERT INTO webhooks
SELECT * FROM jsonb_populate_record(NULL::webhooks, $1::jsonb)
ON CONFLICT DO NOTHING;

-- name: is_used
SELECT EXISTS (SELECT FROM accounts) OR EXISTS (SELECT FROM stripe_objects);

-- name: restored
SELECT old_id, new_id FROM stripe_restored WHERE export_id = $1;

-- name: note_restored
INSERT INTO stripe_restored (export_id, old_id, new_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;
