-- name: delete_meter_events
-- What Stripe is yet to be told of, or somebody has to look at, stays.
DELETE FROM stripe_meter_events
WHERE (event_name, hour, account_id, number) IN (
    SELECT event_name, hour, account_id, number
    FROM stripe_meter_events
    WHERE event_name = ANY(ARRAY(SELECT event_name FROM stripe_meters))
        AND hour < $1
        AND fate IN ('sent', 'written off')
    LIMIT $2
);

-- name: delete_passed
-- By the key, not by the time, which has no index of its own: ids are ordered by time.
DELETE FROM usage_events
WHERE request_id IN (
    SELECT request_id FROM usage_events WHERE request_id < $1 ORDER BY request_id LIMIT $2
) AND request_id < $1;
