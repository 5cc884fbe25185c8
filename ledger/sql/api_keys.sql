-- name: create_key
INSERT INTO api_keys (id, account_id, hash, name, scope, expires_at)
VALUES ($1, $2, $3, $4, $5::text[], $6)
RETURNING id, account_id, name, created_at, scope, expires_at, revoked_at, last_used_at;

-- name: find_key
SELECT id, account_id, name, created_at, scope, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE hash = $1;

-- name: find_keys
-- With their accounts, as one answer: what is announced later has a higher version.
SELECT
    hash, api_keys.id, account_id, api_keys.name, api_keys.created_at, scope, expires_at,
    revoked_at, last_used_at,
    accounts.name AS account_name, accounts.created_at AS account_created_at,
    coalesce(stripe_plan, plan) AS plan, limits,
    concurrency, monthly_budget, own_budget, version,
    coalesce((SELECT sum(amount) FROM credits WHERE account_id = accounts.id), 0)::bigint AS credit
FROM api_keys
JOIN accounts ON accounts.id = account_id
WHERE hash = ANY($1::bytea[]);

-- name: owner_of_key
SELECT account_id FROM api_keys WHERE id = $1;

-- name: list_keys
SELECT id, account_id, name, created_at, scope, expires_at, revoked_at, last_used_at
FROM api_keys
WHERE $1::uuid IS NULL OR account_id = $1
ORDER BY created_at, id;

-- name: revoke_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
RETURNING id, account_id, name, created_at, scope, expires_at, revoked_at, last_used_at, hash;

-- name: expire_key
-- A rotation only ever brings an end nearer.
UPDATE api_keys SET expires_at = least(expires_at, $2) WHERE id = $1
RETURNING id, account_id, name, created_at, scope, expires_at, revoked_at, last_used_at, hash;

-- name: keys_used
-- Sorted: two edges that lock the same rows in different orders deadlock.
UPDATE api_keys
SET last_used_at = greatest(last_used_at, used.at)
FROM (
    SELECT api_keys.id, given.at
    FROM unnest($1::text[], $2::timestamptz[]) AS given (id, at)
    JOIN api_keys USING (id)
    ORDER BY api_keys.id
    FOR NO KEY UPDATE OF api_keys
) AS used
WHERE api_keys.id = used.id;
