-- name: create_account
INSERT INTO accounts (id, name) VALUES ($1, $2)
RETURNING id, name, created_at;

-- name: find_account
SELECT id, name, created_at FROM accounts WHERE id = $1;

-- name: list_accounts
SELECT id, name, created_at FROM accounts ORDER BY created_at, id;
