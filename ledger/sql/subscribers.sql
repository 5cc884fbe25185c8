-- name: find_subscriber
-- One statement, so that the attempts and the subscription are of the same moment.
SELECT
    id AS account_id,
    name,
    stripe_customer AS customer,
    stripe_attempts AS attempts,
    clock_timestamp() AS asked_at,
    (
        SELECT count(*) FROM stripe_objects
        WHERE type = 'subscription' AND customer = accounts.stripe_customer AND deleted
    ) AS ended,
    (SELECT stripe_subscription FROM customers WHERE account_id = accounts.id) AS subscription
FROM accounts
WHERE id = $1;

-- name: count_attempt
-- Only the first to say so: others were told the same answer by Stripe.
UPDATE accounts SET stripe_attempts = stripe_attempts + 1 WHERE id = $1 AND stripe_attempts = $2;
