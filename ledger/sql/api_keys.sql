-- name: create_key
INSERT INTO api_keys (id, account_id, hash, name) VALUES ($1, $2, $3, $4)
RETURNING id, account_id, name, created_at, revoked_at;

-- name: find_key
SELECT id, account_id, name, created_at, revoked_at FROM api_keys WHERE hash = $1;

-- name: list_keys
SELECT id, account_id, name, created_at, revoked_at
FROM api_keys
WHERE $1::uuid IS NULL OR account_id = $1
ORDER BY created_at, id;

-- name: revoke_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
RETURNING id, account_id, name, created_at, revoked_at;
