-- name: journal
-- Stripe sends an event again for days, long after JetStream has forgotten it.
INSERT INTO stripe_events (id, type, created, received_at, payload)
SELECT id, type, to_timestamp(created), received_at, payload
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::jsonb[])
    AS event (id, type, created, received_at, payload)
ORDER BY id, received_at
ON CONFLICT DO NOTHING
RETURNING id;

-- name: lock_objects
-- Whoever folds an object waits here for whoever folds it already, so that the next
-- statement sees all that the other one did, an object's first row and its journal
-- included. In one order, so that nobody waits in a circle.
SELECT pg_advisory_xact_lock(key)
FROM (
    SELECT DISTINCT hashtextextended(coalesce(object ->> 'id', object ->> 'customer', ''), 0) AS key
    FROM (
        SELECT payload #> '{data,object}' FROM stripe_events WHERE id = ANY($1::text[])
        UNION ALL
        SELECT * FROM unnest($2::jsonb[])
    ) AS news (object)
    ORDER BY key
) AS ordered;

-- name: fold_objects
-- News of objects are events, and what Stripe said when it was asked; $3 is when asking
-- began. Which of two states came later?
--
-- Of two events the one with the later `created`. Stripe counts whole seconds: within one
-- they are `tied`, and ledger/stripe/order.py looks closer. A deletion wins over
-- everything, and so does the end of a subscription, which cannot come back to life.
--
-- An answer is later than all that was known before asking began. What comes to be known
-- after that is judged by its time, but not within five seconds of the asking: our clock
-- is not Stripe's, and an event of that second may be from before it or after. Where that
-- says nothing it is `unclear`: the row stays as it is, unsettled (`ask_at`), until Stripe is
-- asked again. Where it says the same (an `echo`) the row only notes when it came, so that no
-- answer from before it is taken for later.
-- A deletion that is only an answer (a wrong key is told that nothing exists) is taken back
-- by a later answer.
--
-- Some objects have no id (a balance, an upcoming invoice): the journal has them, and
-- nothing refers to them. The summary of a customer's entitlements gets one of ours, and
-- says no more than ten of them.
WITH news AS (
    SELECT
        payload #> '{data,object}' AS object,
        type LIKE '%.deleted' AS deletion,
        created,
        received_at,
        id AS event_id,
        NULL::timestamptz AS fetched_at
    FROM stripe_events
    WHERE id = ANY($1::text[])
    UNION ALL
    SELECT object, false, $3::timestamptz, $3::timestamptz, NULL, $3::timestamptz
    FROM unnest($2::jsonb[]) AS object
), named AS (
    SELECT
        CASE
            WHEN object ->> 'object' = 'entitlements.active_entitlement_summary'
                THEN (object ->> 'object') || ':' || (object ->> 'customer')
            ELSE object ->> 'id'
        END AS id,
        object ->> 'object' AS type,
        CASE
            WHEN object ->> 'object' = 'customer' THEN object ->> 'id'
            WHEN jsonb_typeof(object -> 'customer') = 'object' -- expanded
                THEN object #>> '{customer,id}'
            ELSE object ->> 'customer'
        END AS customer,
        created,
        received_at,
        event_id,
        fetched_at,
        deletion
            OR object @> '{"deleted": true}'
            OR object @> '{"object": "subscription", "status": "canceled"}'
            OR object @> '{"object": "subscription", "status": "incomplete_expired"}' AS deleted,
        fetched_at IS NOT NULL AND object @> '{"deleted": true}' AS bare, -- says nothing else
        object,
        fetched_at IS NULL AND object @> '{"entitlements": {"has_more": true}}' AS cut
    FROM news
    WHERE (jsonb_typeof(object -> 'id') = 'string' OR NOT object ? 'id')
        AND jsonb_typeof(object -> 'object') = 'string'
), newest AS (
    -- one statement may not touch a row twice
    SELECT DISTINCT ON (id)
        *,
        fetched_at IS NULL
            AND (NOT deleted OR type = 'subscription') -- gone is gone
            AND count(*) OVER (PARTITION BY id, deleted, created) > 1 AS tied
    FROM named
    WHERE id IS NOT NULL
    ORDER BY id, deleted DESC, created DESC, received_at DESC
), judged AS (
    SELECT
        newest.*,
        known.object AS known_object,
        known.deleted AS known_deleted,
        known.customer AS known_customer,
        newest.fetched_at >= known.fetched_at
            AND newest.fetched_at <= known.updated_at
            AND (known.ask_at IS NOT NULL OR newest.object <> known.object) AS still_unclear,
        CASE
            WHEN known.id IS NULL THEN 'later'
            WHEN newest.fetched_at < known.fetched_at THEN 'earlier'
            WHEN newest.fetched_at >= known.fetched_at THEN 'later'
            WHEN newest.deleted AND NOT known.deleted THEN 'later'
            WHEN known.deleted AND NOT newest.deleted THEN 'earlier'
            WHEN known.deleted AND known.type <> 'subscription' THEN 'same'
            WHEN newest.fetched_at > known.updated_at THEN 'later'
            WHEN newest.fetched_at IS NULL AND known.fetched_at IS NULL
                THEN CASE
                    WHEN newest.created > known.stripe_created THEN 'later'
                    WHEN newest.created < known.stripe_created THEN 'earlier'
                    WHEN newest.event_id = known.event_id AND NOT newest.tied THEN 'same'
                    ELSE 'tied'
                END
            WHEN newest.created > known.stripe_created + interval '5 s' THEN 'later'
            WHEN newest.created < known.stripe_created - interval '5 s' THEN 'earlier'
            WHEN newest.object = known.object AND NOT newest.tied THEN 'echo'
            ELSE 'unclear'
        END AS verdict
    FROM newest
    LEFT JOIN stripe_objects AS known USING (id)
), chosen AS (
    SELECT
        *,
        verdict = 'later' AS wins,
        verdict = 'tied' OR (verdict = 'later' AND tied) AS close,
        tied OR cut OR coalesce(still_unclear, false) OR verdict IN ('tied', 'unclear') AS unsettled
    FROM judged
    WHERE verdict NOT IN ('earlier', 'same')
), stored AS (
    INSERT INTO stripe_objects AS known (
        id, type, customer, stripe_created, received_at, event_id, fetched_at, deleted, object,
        ask_at, updated_at
    )
    SELECT
        id, type, customer, created, received_at, event_id, fetched_at, deleted, object,
        CASE WHEN unsettled THEN clock_timestamp() END,
        clock_timestamp()
    FROM chosen
    WHERE wins AND NOT (bare AND known_object IS NOT NULL)
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
        updated_at = excluded.updated_at
), noted AS (
    -- nothing but what is left when the object stays as it was: a doubt, or its end
    UPDATE stripe_objects AS known
    SET ask_at = CASE
            WHEN verdict = 'echo' THEN known.ask_at
            WHEN unsettled THEN clock_timestamp()
        END,
        updated_at = clock_timestamp(),
        deleted = known.deleted OR chosen.bare,
        stripe_created = CASE WHEN chosen.bare THEN chosen.created ELSE known.stripe_created END,
        received_at = CASE WHEN chosen.bare THEN chosen.created ELSE known.received_at END,
        event_id = CASE WHEN NOT chosen.bare THEN known.event_id END,
        fetched_at = CASE WHEN chosen.bare THEN chosen.fetched_at ELSE known.fetched_at END
    FROM chosen
    WHERE known.id = chosen.id AND (NOT chosen.wins OR (chosen.bare AND known_object IS NOT NULL))
)
SELECT
    id,
    coalesce(customer, known_customer) AS customer,
    close AS tied,
    unsettled,
    wins AND (
        known_object IS NULL
        OR deleted IS DISTINCT FROM known_deleted
        OR NOT bare AND object IS DISTINCT FROM known_object
    ) AS changed
FROM chosen;

-- name: read_tied
-- All that happened to objects in the second that they are as of.
SELECT
    known.id,
    event.id AS event_id,
    event.type,
    event.payload #> '{data,object}' AS object,
    event.payload #> '{data,previous_attributes}' AS previous,
    known.customer,
    event.payload #> '{data,object}' <> known.object AS differs
FROM stripe_objects AS known
JOIN stripe_events AS event
    ON event.payload #>> '{data,object,id}' = known.id AND event.created = known.stripe_created
WHERE known.id = ANY($1::text[]) AND NOT known.deleted
ORDER BY known.id, event.received_at, event.id;

-- name: settle_tied
UPDATE stripe_objects AS known
SET event_id = event.id,
    received_at = event.received_at,
    object = event.payload #> '{data,object}',
    ask_at = CASE WHEN NOT winner.certain THEN known.ask_at END
FROM unnest($1::text[], $2::boolean[]) AS winner (event_id, certain)
JOIN stripe_events AS event ON event.id = winner.event_id
WHERE known.id = event.payload #>> '{data,object,id}';

-- name: asking_at
SELECT clock_timestamp();

-- name: list_unsettled
-- Type by type, so that those of types that cannot be asked for are not even read.
SELECT waiting.id, waiting.type, waiting.customer
FROM unnest($1::text[]) AS kind (type)
CROSS JOIN LATERAL (
    SELECT id, type, customer, ask_at
    FROM stripe_objects
    WHERE stripe_objects.type = kind.type AND ask_at <= clock_timestamp()
    ORDER BY ask_at
    LIMIT $2
) AS waiting
ORDER BY waiting.ask_at
LIMIT $2;

-- name: postpone
UPDATE stripe_objects
SET ask_at = clock_timestamp() + interval '1 h'
WHERE id = ANY($1::text[]) AND ask_at <= $2;

-- name: find_object
SELECT
    id, type, customer, stripe_created, received_at, event_id, fetched_at, ask_at, deleted, object,
    updated_at
FROM stripe_objects
WHERE id = $1;

-- name: find_event
SELECT id, type, created, received_at, payload FROM stripe_events WHERE id = $1;
