-- name: take_jobs
-- A lease: who dies with it is followed when it has run out. SKIP LOCKED: consumers that
-- look at the same moment take different ones.
UPDATE stripe_customer_jobs AS job
SET due_at = now() + $2::interval, attempts = attempts + 1
FROM accounts
WHERE accounts.id = job.account_id
    AND job.account_id IN (
        SELECT account_id
        FROM stripe_customer_jobs
        WHERE due_at <= now()
        ORDER BY due_at
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    )
RETURNING
    accounts.id AS account_id, accounts.name, accounts.stripe_customer AS customer, job.attempts;

-- name: put_off_job
UPDATE stripe_customer_jobs SET due_at = now() + $2::interval, error = $3 WHERE account_id = $1;

-- name: end_job
DELETE FROM stripe_customer_jobs WHERE account_id = $1;

-- name: list_jobs
-- Those that an event has linked meanwhile wait for nothing, but that somebody looks.
SELECT account_id, due_at, attempts, error
FROM stripe_customer_jobs
JOIN accounts ON accounts.id = account_id AND stripe_customer IS NULL
ORDER BY due_at, account_id;

-- name: find_customer_of
-- The oldest, if somebody has made several: the others are of no use to us.
SELECT id
FROM stripe_objects
WHERE type = 'customer' AND NOT deleted AND object #>> '{metadata,tollgate_account}' = $1::text
ORDER BY object ->> 'created', id
LIMIT 1;

-- name: linked_customer
SELECT stripe_customer FROM accounts WHERE id = $1 FOR UPDATE;

-- name: linked_account
SELECT id FROM accounts WHERE stripe_customer = $1;

-- name: link
UPDATE accounts SET stripe_customer = $2 WHERE id = $1;
