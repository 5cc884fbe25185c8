-- name: make_shadow
-- A temporary table comes before one of the same name: the statements that fold the objects
-- fold this one then, on this connection.
CREATE TEMPORARY TABLE stripe_objects (LIKE public.stripe_objects INCLUDING ALL);

-- name: drop_shadow
DROP TABLE pg_temp.stripe_objects;

-- name: next_events
SELECT id FROM stripe_events WHERE id > $1 ORDER BY id LIMIT $2;

-- name: compare
SELECT
    kept.id,
    made.id IS NULL AS unexplained,
    made.id IS NOT NULL
        AND (made.deleted, made.customer, made.object)
            IS DISTINCT FROM (kept.deleted, kept.customer, kept.object) AS differs
FROM public.stripe_objects AS kept
LEFT JOIN stripe_objects AS made ON made.id = kept.id
WHERE kept.id > $1
ORDER BY kept.id
LIMIT $2;

-- name: missing
SELECT id
FROM stripe_objects AS made
WHERE NOT EXISTS (SELECT FROM public.stripe_objects AS kept WHERE kept.id = made.id)
ORDER BY id;

-- name: object_event_ids
-- A summary of entitlements has an id of ours, made of what it says: see stripe.sql.
SELECT id FROM stripe_events WHERE payload #>> '{data,object,id}' = $1
UNION ALL
SELECT id
FROM stripe_events
WHERE $1 LIKE 'entitlements.active_entitlement_summary:%'
    AND payload #>> '{data,object,id}' IS NULL
    AND (payload #>> '{data,object,object}') || ':' || (payload #>> '{data,object,customer}') = $1;

-- name: forget_made
DELETE FROM stripe_objects WHERE id = $1;

-- name: look_closer
-- What was asked of Stripe is newer than its events, unless one came much later; and where
-- events leave it open, either may be right.
SELECT
    made.type,
    made.customer,
    kept.id IS NULL AS missing,
    made.deleted AS made_deleted,
    kept.deleted AS kept_deleted,
    made.object AS made_object,
    kept.object AS kept_object
FROM stripe_objects AS made
LEFT JOIN public.stripe_objects AS kept ON kept.id = made.id
WHERE made.id = $1
    AND (made.deleted, made.customer, made.object)
        IS DISTINCT FROM (kept.deleted, kept.customer, kept.object)
    AND (
        kept.id IS NULL
        OR (made.deleted AND NOT kept.deleted)
        OR (
            made.ask_at IS NULL
            AND coalesce(kept.fetched_at < made.stripe_created - interval '5 s', true)
        )
    );

-- name: put_in_place
INSERT INTO public.stripe_objects AS kept (
    id, type, customer, stripe_created, received_at, event_id, fetched_at, deleted, object,
    ask_at, updated_at
)
SELECT
    id, type, customer, stripe_created, received_at, event_id, fetched_at, deleted, object,
    ask_at, updated_at
FROM stripe_objects
WHERE id = $1
ON CONFLICT (id) DO UPDATE
SET type = excluded.type,
    customer = excluded.customer,
    stripe_created = excluded.stripe_created,
    received_at = excluded.received_at,
    event_id = excluded.event_id,
    fetched_at = excluded.fetched_at,
    deleted = excluded.deleted,
    object = excluded.object,
    ask_at = excluded.ask_at,
    updated_at = excluded.updated_at;
