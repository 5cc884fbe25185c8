-- Which of Stripe's objects are settled, their history, and whose they are.
SET LOCAL lock_timeout = '3s';

ALTER TABLE stripe_objects
    ADD COLUMN IF NOT EXISTS fetched_at timestamptz,
    ADD COLUMN IF NOT EXISTS ask_at timestamptz,
    ALTER COLUMN event_id DROP NOT NULL;

CREATE INDEX IF NOT EXISTS stripe_objects_customer_type_idx ON stripe_objects (customer, type);
CREATE INDEX IF NOT EXISTS stripe_objects_ask_at_idx
    ON stripe_objects (ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS stripe_events_object_created_idx
    ON stripe_events ((payload #>> '{data,object,id}'), created);

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only', TG_TABLE_NAME;
END
$$;

CREATE OR REPLACE TRIGGER stripe_events_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON stripe_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE OR REPLACE VIEW customers AS
SELECT
    accounts.id AS account_id,
    customer.object AS stripe_customer,
    subscription.object AS stripe_subscription
FROM accounts
LEFT JOIN stripe_objects AS customer ON customer.id = accounts.stripe_customer
LEFT JOIN LATERAL (
    SELECT object
    FROM stripe_objects
    WHERE stripe_objects.customer = accounts.stripe_customer AND type = 'subscription'
    ORDER BY
        deleted,
        object ->> 'status' IN ('canceled', 'incomplete', 'incomplete_expired'),
        (object ->> 'created')::bigint DESC,
        stripe_objects.id
    LIMIT 1
) AS subscription ON true
WHERE accounts.stripe_customer IS NOT NULL;
