-- name: object_events
SELECT
    id,
    type,
    created,
    received_at,
    coalesce(
        ARRAY(
            SELECT jsonb_object_keys(changed)
            FROM (SELECT payload #> '{data,previous_attributes}') AS update (changed)
            WHERE jsonb_typeof(changed) = 'object'
            ORDER BY 1
        ),
        '{}'
    ) AS changed
FROM stripe_events
WHERE payload #>> '{data,object,id}' = $1
ORDER BY created DESC, received_at DESC, id
LIMIT $2;

-- name: events_until
-- What decided by then: of a deleted object its deletion, else the last second in which
-- something happened.
SELECT
    id AS event_id,
    type,
    created,
    received_at,
    payload #> '{data,object}' AS object,
    payload #> '{data,previous_attributes}' AS previous
FROM (
    SELECT *, rank() OVER (ORDER BY type LIKE '%.deleted' DESC, created DESC) AS place
    FROM stripe_events
    WHERE payload #>> '{data,object,id}' = $1 AND created <= $2
) AS event
WHERE place = 1
ORDER BY received_at, id;
