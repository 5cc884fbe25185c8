-- name: record_changes
-- Only what differs from what was recorded last: an account's version also counts its keys.
INSERT INTO plan_changes (
    account_id, version, plan_before, plan, operator_plan, stripe_plan, limits, concurrency,
    monthly_budget, own_budget, why
)
SELECT
    account.id, account.version, before.plan, coalesce(account.stripe_plan, account.plan),
    account.plan, account.stripe_plan, account.limits, account.concurrency,
    account.monthly_budget, account.own_budget, reason.why
FROM unnest($1::uuid[], $2::text[]) AS reason (account_id, why)
JOIN accounts AS account ON account.id = reason.account_id
LEFT JOIN LATERAL (
    SELECT * FROM plan_changes
    WHERE account_id = account.id
    ORDER BY version DESC
    LIMIT 1
) AS before ON true
WHERE before.version IS NULL
    OR (account.plan, account.stripe_plan, account.limits, account.concurrency,
        account.monthly_budget, account.own_budget)
    IS DISTINCT FROM (before.operator_plan, before.stripe_plan, before.limits, before.concurrency,
        before.monthly_budget, before.own_budget)
ON CONFLICT DO NOTHING;

-- name: terms_at
SELECT
    change.at, change.plan_before, change.plan, change.operator_plan, change.stripe_plan,
    change.limits, change.concurrency, change.monthly_budget, change.own_budget, change.why,
    (
        SELECT terms FROM plan_versions
        WHERE name = change.plan AND plan_versions.at <= $2
        ORDER BY plan_versions.at DESC
        LIMIT 1
    ) AS terms
FROM plan_changes AS change
WHERE account_id = $1 AND at <= $2
ORDER BY version DESC
LIMIT 1;

-- name: list_changes
SELECT
    at, plan_before, plan, operator_plan, stripe_plan, limits, concurrency, monthly_budget,
    own_budget, why
FROM plan_changes
WHERE account_id = $1
ORDER BY version DESC
LIMIT $2;

-- name: record_plans
-- Several processes read one file: whoever is second finds it said. A lock, not a key: two
-- would otherwise each see the older version as the last one.
INSERT INTO plan_versions (name, terms)
SELECT coalesce(now.name, last.name), now.terms
FROM unnest($1::text[], $2::jsonb[]) AS now (name, terms)
FULL JOIN (
    SELECT DISTINCT ON (name) name, terms FROM plan_versions ORDER BY name, at DESC
) AS last ON last.name = now.name
WHERE now.terms IS DISTINCT FROM last.terms;

-- name: lock_plans
SELECT pg_advisory_xact_lock(hashtext('plan_versions')::bigint);
