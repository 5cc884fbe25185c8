-- name: lock_customers
-- Two who change objects of one customer at once would each derive its plan without the
-- other's. Sorted, or two batches lock the same customers the wrong way round. The keys are
-- no rows of ours: a customer may have no account yet, which comes at this very moment.
-- Seed 1: objects are locked by their ids under seed 0 (stripe.sql), and always before.
SELECT pg_advisory_xact_lock(key)
FROM (
    SELECT DISTINCT hashtextextended(customer, 1) AS key
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
-- `gone_by` is the event that told of the customer's deletion, if one did.
SELECT
    accounts.id, stripe_customer, stripe_plan, stripe_plan_until,
    gone.id IS NOT NULL AS is_gone, gone.event_id AS gone_by
FROM accounts
LEFT JOIN stripe_objects AS gone ON gone.id = stripe_customer AND gone.deleted
WHERE stripe_customer = ANY($1::text[])
ORDER BY accounts.id;

-- name: holdings
-- What gives plans. Those of deleted customers have ended, though nobody may have said so yet.
SELECT customer, type, object, event_id, updated_at
FROM stripe_objects AS holding
WHERE customer = ANY($1::text[])
    AND type IN ('subscription', 'entitlements.active_entitlement_summary')
    AND NOT deleted
    AND NOT EXISTS (
        SELECT FROM stripe_objects AS gone WHERE gone.id = holding.customer AND gone.deleted
    );

-- name: past_due_since
-- By the journal, which has every event in the end, whatever their order: the first that
-- says past due, after the last that says anything else. From the newest back, so that a
-- long history is not read: it was nine tenths of what following cost.
SELECT asked.id, late.created
FROM unnest($1::text[]) AS asked (id)
LEFT JOIN LATERAL (
    SELECT created
    FROM stripe_events
    WHERE payload #>> '{data,object,id}' = asked.id
        AND payload #>> '{data,object,status}' <> 'past_due'
    ORDER BY created DESC
    LIMIT 1
) AS otherwise ON true
CROSS JOIN LATERAL (
    SELECT created
    FROM stripe_events
    WHERE payload #>> '{data,object,id}' = asked.id
        AND created >= coalesce(otherwise.created, '-infinity')
        AND payload #>> '{data,object,status}' = 'past_due'
    ORDER BY created
    LIMIT 1
) AS late;

-- name: lock_accounts
-- As they are once whoever held them is done: one may be another customer's since then.
SELECT id, stripe_customer FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: give_plans
UPDATE accounts
SET stripe_plan = given.plan,
    stripe_plan_until = given.until,
    version = version + (accounts.stripe_plan IS DISTINCT FROM given.plan)::integer
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS given (account_id, plan, until)
WHERE accounts.id = given.account_id;

-- name: put_off
UPDATE accounts
SET stripe_plan_until = $2::timestamptz + interval '1 h'
WHERE id IN (
    SELECT id FROM accounts
    WHERE id = ANY($1::uuid[]) AND stripe_plan_until <= $2
    ORDER BY id
    FOR UPDATE
);

-- name: unlink
-- Accounts whose customers are deleted, which is for good: they are nobody's customers, and can
-- become somebody's.
WITH gone AS (
    SELECT accounts.id, stripe_customer AS customer
    FROM accounts
    JOIN stripe_objects AS deleted ON deleted.id = stripe_customer AND deleted.deleted
    WHERE stripe_customer = ANY($1::text[])
    ORDER BY accounts.id
    FOR UPDATE OF accounts
)
UPDATE accounts SET stripe_customer = NULL
FROM gone
WHERE accounts.id = gone.id
RETURNING accounts.id AS account_id, gone.customer;

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
