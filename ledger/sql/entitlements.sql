-- name: lock_customers
-- Two who change objects of one customer at once would each derive its plan without the
-- other's. Sorted, or two batches lock the same customers the wrong way round. The keys are
-- no rows of ours: a customer may have no account yet, which comes at this very moment.
SELECT pg_advisory_xact_lock(key)
FROM (
    SELECT DISTINCT hashtextextended(customer, 0) AS key
    FROM unnest($1::text[]) AS asked (customer)
    ORDER BY key
) AS keys;

-- name: claims
-- Customers that name an account in their metadata, and that no account is linked to.
SELECT id AS customer, object #>> '{metadata,tollgate_account}' AS account_id
FROM stripe_objects
WHERE id = ANY($1::text[])
    AND type = 'customer'
    AND NOT deleted
    AND object #>> '{metadata,tollgate_account}' IS NOT NULL
    AND NOT EXISTS (SELECT FROM accounts WHERE stripe_customer = stripe_objects.id)
ORDER BY account_id, object ->> 'created', id;

-- name: link
UPDATE accounts SET stripe_customer = $2 WHERE id = $1 AND stripe_customer IS NULL RETURNING id;

-- name: subscribers
SELECT
    account.id, account.stripe_customer, account.stripe_plan, account.stripe_plan_until,
    coalesce(features.lookup_keys, '{}') AS lookup_keys,
    features.event_id, features.updated_at
FROM accounts AS account
LEFT JOIN LATERAL (
    SELECT
        event_id, updated_at,
        ARRAY(
            SELECT one ->> 'lookup_key' FROM jsonb_array_elements(entitlements) AS of (one)
            WHERE jsonb_typeof(one -> 'lookup_key') = 'string'
        ) AS lookup_keys
    FROM stripe_entitlements
    WHERE customer = account.stripe_customer
        AND NOT EXISTS (SELECT FROM stripe_objects WHERE id = customer AND deleted)
) AS features ON true
WHERE account.stripe_customer = ANY($1::text[])
ORDER BY account.id;

-- name: subscriptions
-- Those of deleted customers are canceled, though nobody may have said so yet.
SELECT id, customer, object, event_id, updated_at
FROM stripe_objects AS subscription
WHERE customer = ANY($1::text[])
    AND type = 'subscription'
    AND NOT deleted
    AND NOT EXISTS (
        SELECT FROM stripe_objects AS gone
        WHERE gone.id = subscription.customer AND gone.deleted
    );

-- name: past_due_since
-- By the journal, which has every event in the end, whatever their order: the first that
-- says past due, after the last that says anything else.
SELECT DISTINCT ON (id) id, created
FROM (
    SELECT
        asked.id, event.created,
        event.payload #>> '{data,object,status}' = 'past_due' AS past_due,
        max(event.created) FILTER (
            WHERE event.payload #>> '{data,object,status}' <> 'past_due'
        ) OVER (PARTITION BY asked.id) AS otherwise
    FROM unnest($1::text[]) AS asked (id)
    JOIN stripe_events AS event ON event.payload #>> '{data,object,id}' = asked.id
) AS said
WHERE past_due AND (otherwise IS NULL OR created >= otherwise)
ORDER BY id, created;

-- name: lock_accounts
SELECT id FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: give_plans
UPDATE accounts
SET stripe_plan = given.plan,
    stripe_plan_until = given.until,
    version = version + (accounts.stripe_plan IS DISTINCT FROM given.plan)::integer
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS given (account_id, plan, until)
WHERE accounts.id = given.account_id;

-- name: due
SELECT stripe_customer FROM accounts
WHERE stripe_plan_until <= $1 AND stripe_customer IS NOT NULL
ORDER BY stripe_plan_until
LIMIT $2;

-- name: linked_customers
SELECT stripe_customer FROM accounts
WHERE stripe_customer > $1
ORDER BY stripe_customer
LIMIT $2;

-- name: fold_entitlements
-- A summary that is not whole, or one of two within a second, leaves what Stripe has to say.
INSERT INTO stripe_entitlements AS known (customer, stripe_created, event_id, whole, entitlements)
SELECT DISTINCT ON (customer)
    customer, created, id, NOT more AND count(*) OVER (PARTITION BY customer, created) = 1,
    entitlements
FROM (
    SELECT
        id, created, received_at,
        payload #>> '{data,object,customer}' AS customer,
        payload #> '{data,object,entitlements,data}' AS entitlements,
        payload #> '{data,object,entitlements,has_more}' IS NOT DISTINCT FROM 'true' AS more
    FROM stripe_events
    WHERE id = ANY($1::text[]) AND type = 'entitlements.active_entitlement_summary.updated'
) AS said
WHERE customer IS NOT NULL AND jsonb_typeof(entitlements) = 'array'
ORDER BY customer, created DESC, received_at DESC
ON CONFLICT (customer) DO UPDATE
SET stripe_created = excluded.stripe_created,
    event_id = excluded.event_id,
    whole = excluded.whole AND known.stripe_created < excluded.stripe_created,
    entitlements = excluded.entitlements,
    updated_at = now()
WHERE known.stripe_created <= excluded.stripe_created
    AND known.event_id IS DISTINCT FROM excluded.event_id
RETURNING customer;

-- name: unsettled
SELECT customer, event_id FROM stripe_entitlements WHERE NOT whole ORDER BY updated_at LIMIT $1;

-- name: store_entitlements
-- Only over what was there when Stripe was asked: an event that came meanwhile may be newer.
INSERT INTO stripe_entitlements AS known (customer, stripe_created, event_id, whole, entitlements)
VALUES ($1, '-infinity', NULL, true, $2::jsonb)
ON CONFLICT (customer) DO UPDATE
SET entitlements = excluded.entitlements, whole = true, updated_at = now()
WHERE known.event_id IS NOT DISTINCT FROM $3
RETURNING customer;
