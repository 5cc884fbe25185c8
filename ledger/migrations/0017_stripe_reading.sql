-- What is read again and again of Stripe's objects and meter events, without reading the rest.
SET LOCAL lock_timeout = '3s';

CREATE INDEX IF NOT EXISTS stripe_objects_type_ask_at_idx
    ON stripe_objects (type, ask_at) WHERE ask_at IS NOT NULL;
DROP INDEX IF EXISTS stripe_objects_ask_at_idx;

CREATE INDEX IF NOT EXISTS stripe_objects_type_id_idx ON stripe_objects (type, id) WHERE NOT deleted;

CREATE UNLOGGED TABLE IF NOT EXISTS stripe_listed (id text PRIMARY KEY);

CREATE INDEX IF NOT EXISTS stripe_meter_events_customer_idx
    ON stripe_meter_events (customer, event_name, hour);

-- `created` as it is: one that is no number would fail all who read the view
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
        object -> 'created' DESC NULLS LAST,
        stripe_objects.id
    LIMIT 1
) AS subscription ON true
WHERE accounts.stripe_customer IS NOT NULL;
