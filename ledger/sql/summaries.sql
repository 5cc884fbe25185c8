-- name: told
SELECT
    event_name,
    customer,
    coalesce(sum(amount) FILTER (WHERE fate = 'sent'), 0)::bigint AS amount,
    bool_and(CASE fate
        WHEN 'sent' THEN settled_at < $3::timestamptz
        WHEN 'frozen' THEN tried_at IS NULL
        ELSE true
    END) AS settled
FROM stripe_meter_events
WHERE event_name = ANY(ARRAY(SELECT event_name FROM stripe_meters)) -- the key begins with it
    AND hour >= $1 AND hour < $2
GROUP BY 1, 2
ORDER BY CASE WHEN $4::integer IS NOT NULL THEN random() END, 1, 2
LIMIT $4;

-- name: hours_sent
SELECT hour, sum(amount)::bigint AS amount, bool_and(settled_at < $5) AS settled
FROM stripe_meter_events
WHERE event_name = $1 AND customer = $2 AND hour >= $3 AND hour < $4 AND fate = 'sent'
GROUP BY 1;

-- name: not_frozen
-- Hours of Stripe's customers whose totals are not what was frozen of them, but for what was
-- folded since the last look (and a minute before it: a fold's time is that of its beginning).
WITH used AS (
    SELECT event_name, account_id, hour, amount
    FROM stripe_metered
    JOIN stripe_meters USING (event_name)
    WHERE hour >= $1::timestamptz AND hour < least(frozen_until, $2::timestamptz)
), frozen AS (
    SELECT event_name, account_id, hour, sum(amount)::bigint AS amount
    FROM stripe_meter_events
    JOIN stripe_meters USING (event_name)
    WHERE hour >= greatest(since, $1) AND hour < least(frozen_until, $2)
    GROUP BY 1, 2, 3
), compared AS (
    SELECT
        event_name, account_id, hour,
        coalesce(used.amount, 0) AS used, coalesce(frozen.amount, 0) AS frozen
    FROM used
    FULL JOIN frozen USING (event_name, account_id, hour)
    WHERE coalesce(used.amount, 0) <> coalesce(frozen.amount, 0)
)
SELECT
    compared.event_name, compared.account_id, compared.hour, used, frozen,
    (event_name, account_id) IN (SELECT frozen.event_name, frozen.account_id FROM frozen) AS begun
FROM compared
JOIN stripe_meters AS meter USING (event_name)
JOIN accounts ON accounts.id = compared.account_id AND stripe_customer IS NOT NULL
WHERE NOT EXISTS (
    SELECT FROM usage_events AS event
    WHERE event.account_id = compared.account_id
        AND event.started_at >= compared.hour
        AND event.started_at < compared.hour + interval '1 hour'
        AND event.recorded_at > meter.frozen_at - interval '1 minute'
)
ORDER BY compared.hour, compared.event_name, compared.account_id
LIMIT $3;
