-- name: find_invoice
SELECT object FROM stripe_objects
WHERE type = 'invoice' AND NOT deleted AND (id = $1 OR object ->> 'number' = $1)
ORDER BY id <> $1, object ->> 'created' DESC
LIMIT 1;

-- name: find_account_of
-- By what a customer says of itself, too: who is deleted is linked no more, and has invoices.
SELECT id, name
FROM accounts
WHERE stripe_customer = $1
    OR id::text = (
        SELECT object #>> '{metadata,tollgate_account}' FROM stripe_objects WHERE id = $1
    )
ORDER BY stripe_customer IS NOT DISTINCT FROM $1 DESC
LIMIT 1;

-- name: metered
-- An hour is told to Stripe as of its last second: it belongs to the period that has that.
SELECT
    coalesce((
        SELECT sum(amount) FROM stripe_metered
        WHERE event_name = $1
            AND account_id = $2
            AND hour >= $3::timestamptz - interval '59 min 59 s' AND hour < $4::timestamptz - interval '59 min 59 s'
    ), 0)::bigint AS used,
    coalesce((
        SELECT sum(amount) FROM stripe_meter_events
        WHERE event_name = $1
            AND customer = $5
            AND hour >= $3::timestamptz - interval '59 min 59 s' AND hour < $4::timestamptz - interval '59 min 59 s'
            AND fate = 'sent'
    ), 0)::bigint AS told;

-- name: used_within
SELECT
    coalesce(sum(requests), 0)::bigint AS requests,
    coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(input_words), 0)::bigint AS input_words,
    coalesce(sum(output_words), 0)::bigint AS output_words,
    coalesce(sum(input_characters), 0)::bigint AS input_characters,
    coalesce(sum(output_characters), 0)::bigint AS output_characters,
    coalesce(sum(device_ms), 0)::bigint AS device_ms,
    coalesce(sum(errors), 0)::bigint AS errors,
    coalesce(sum(cost), 0)::bigint AS cost,
    coalesce(sum(translated_characters), 0)::bigint AS translated_characters
FROM usage_totals
WHERE account_id = $1
    AND hour >= $2::timestamptz - interval '59 min 59 s' AND hour < $3::timestamptz - interval '59 min 59 s';
