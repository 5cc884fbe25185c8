-- name: find_pass
SELECT
    name, due_at, began_at, finished_at, failures, error, note, cursor, newest, list, after,
    passed, found, extract(epoch FROM due_at - now())::float8 AS due_in_s
FROM stripe_passes
WHERE name = $1;

-- name: list_passes
SELECT
    name, due_at, began_at, finished_at, failures, error, note, cursor, newest, list, after,
    passed, found, extract(epoch FROM due_at - now())::float8 AS due_in_s
FROM stripe_passes
ORDER BY name;

-- name: begin_pass
-- One that was cut short goes on where it was: where that is stays.
INSERT INTO stripe_passes AS known (name, began_at) VALUES ($1, now())
ON CONFLICT (name) DO UPDATE
SET began_at = now(),
    passed = CASE WHEN known.after = '' AND known.list = '' THEN 0 ELSE known.passed END,
    found = CASE WHEN known.after = '' AND known.list = '' THEN 0 ELSE known.found END
RETURNING
    name, due_at, began_at, finished_at, failures, error, note, cursor, newest, list, after,
    passed, found, extract(epoch FROM due_at - now())::float8 AS due_in_s;

-- name: move_pass
UPDATE stripe_passes
SET cursor = $2, newest = $3, list = $4, after = $5, passed = $6, found = $7, note = $8
WHERE name = $1;

-- name: finish_pass
UPDATE stripe_passes
SET finished_at = now(), failures = 0, error = '', due_at = now() + make_interval(secs => $2)
WHERE name = $1;

-- name: fail_pass
UPDATE stripe_passes
SET failures = failures + 1,
    error = $2,
    due_at = now() + make_interval(secs => least($3 * 2 ^ least(failures, 10), greatest($3, $4)))
WHERE name = $1
RETURNING failures;

-- name: hasten_pass
INSERT INTO stripe_passes (name) VALUES ($1)
ON CONFLICT (name) DO UPDATE SET due_at = now();

-- name: find_lacking
SELECT id FROM unnest($1::text[]) AS listed (id)
WHERE NOT EXISTS (SELECT FROM stripe_events AS event WHERE event.id = listed.id);

-- name: compare_objects
-- Of objects as Stripe lists them, those that the ledger lacks or has otherwise; but for what
-- it heard of since $2, which is on its way. A subscription that has ended is kept as deleted.
SELECT listed.object ->> 'id' AS id, known.object AS known
FROM unnest($1::jsonb[]) AS listed (object)
LEFT JOIN stripe_objects AS known ON known.id = listed.object ->> 'id'
WHERE known.id IS NULL
    OR known.updated_at < $2
    AND (
        known.object <> listed.object
        OR known.deleted
        AND coalesce(listed.object ->> 'status', '') NOT IN ('canceled', 'incomplete_expired')
    );

-- name: forget_listed
DELETE FROM stripe_listed;

-- name: note_listed
INSERT INTO stripe_listed (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: find_live
-- Objects of a type that the ledger has for alive, and had before $2; and whether each was
-- listed. A page is taken first, and each of it looked up: any other join reads both tables
-- whole for each page.
SELECT live.id, live.type, live.customer, found.id IS NOT NULL AS listed
FROM (
    SELECT id, type, customer
    FROM stripe_objects
    WHERE type = $1 AND NOT deleted AND updated_at < $2 AND id > $3
    ORDER BY id
    LIMIT $4
) AS live
LEFT JOIN LATERAL (
    SELECT id FROM stripe_listed WHERE stripe_listed.id = live.id LIMIT 1
) AS found ON true
ORDER BY live.id;

-- name: count_live
-- Of a type, no further than $2, and whether any of them was listed.
SELECT
    (
        SELECT count(*)
        FROM (SELECT FROM stripe_objects WHERE type = $1 AND NOT deleted LIMIT $2) AS found
    ) AS live,
    EXISTS (
        SELECT FROM stripe_listed
        JOIN stripe_objects AS known USING (id)
        WHERE known.type = $1 AND NOT known.deleted
    ) AS listed;

-- name: list_entitled
-- Customers who may be entitled to something: who subscribe, and whose summary says so.
SELECT DISTINCT customer
FROM stripe_objects
WHERE NOT deleted
    AND customer > $1
    AND (
        type = 'subscription'
        OR type = 'entitlements.active_entitlement_summary'
        AND object @? '$.entitlements.data[0]'
    )
ORDER BY customer
LIMIT $2;
