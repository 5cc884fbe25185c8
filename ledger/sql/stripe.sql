-- name: journal
-- Stripe sends an event again for days, long after JetStream has forgotten it.
INSERT INTO stripe_events (id, type, created, received_at, payload)
SELECT id, type, to_timestamp(created), received_at, payload
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::jsonb[])
    AS event (id, type, created, received_at, payload)
ORDER BY id, received_at
ON CONFLICT DO NOTHING
RETURNING id;

-- name: fold_objects
-- Events come late and out of order: an older one never overwrites a newer one.
-- Stripe counts whole seconds; within one, what the stream took later wins. A
-- deletion wins over everything, for good. Some objects have no id of their own
-- (a balance, an upcoming invoice): the journal has them, and nothing refers to them.
-- DISTINCT ON: one statement may not touch a row twice; ORDER BY as in usage.sql.
INSERT INTO stripe_objects AS known (
    id, type, customer, stripe_created, received_at, event_id, deleted, object
)
SELECT DISTINCT ON (object.id)
    object.id,
    event.object ->> 'object',
    CASE
        WHEN event.object ->> 'object' = 'customer' THEN object.id
        WHEN jsonb_typeof(event.object -> 'customer') = 'object' -- expanded
            THEN event.object #>> '{customer,id}'
        ELSE event.object ->> 'customer'
    END,
    event.created,
    event.received_at,
    event.id,
    object.deleted,
    event.object
FROM (
    SELECT id, type, created, received_at, payload #> '{data,object}' AS object
    FROM stripe_events
    WHERE id = ANY($1::text[])
) AS event
CROSS JOIN LATERAL (
    SELECT
        event.object ->> 'id' AS id,
        event.type LIKE '%.deleted' OR event.object @> '{"deleted": true}' AS deleted
) AS object
WHERE jsonb_typeof(event.object -> 'id') = 'string'
    AND jsonb_typeof(event.object -> 'object') = 'string'
ORDER BY object.id, object.deleted DESC, event.created DESC, event.received_at DESC
ON CONFLICT (id) DO UPDATE
SET type = excluded.type,
    customer = excluded.customer,
    stripe_created = excluded.stripe_created,
    received_at = excluded.received_at,
    event_id = excluded.event_id,
    deleted = excluded.deleted,
    object = excluded.object,
    updated_at = now()
WHERE NOT known.deleted
    AND (
        excluded.deleted
        OR (known.stripe_created, known.received_at)
            < (excluded.stripe_created, excluded.received_at)
    );

-- name: find_object
SELECT id, type, customer, stripe_created, received_at, event_id, deleted, object, updated_at
FROM stripe_objects
WHERE id = $1;

-- name: find_event
SELECT id, type, created, received_at, payload FROM stripe_events WHERE id = $1;
