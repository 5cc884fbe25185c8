-- name: sequences
-- How far each edge's own count is in the ledger; of some edges, or of all.
SELECT
    epoch,
    count(*) AS events,
    count(DISTINCT sequence) AS numbers,
    min(sequence) AS first,
    max(sequence) AS last
FROM usage_events
WHERE started_at >= $1 AND ($2::uuid[] IS NULL OR epoch = ANY ($2))
GROUP BY epoch;

-- name: gaps
-- Numbers that are nowhere between two that are.
SELECT epoch, before + 1 AS first, sequence - 1 AS last
FROM (
    SELECT
        epoch, sequence, lag(sequence) OVER (PARTITION BY epoch ORDER BY sequence) AS before
    FROM usage_events
    WHERE epoch = ANY ($1::uuid[]) AND started_at >= $2
) AS numbered
WHERE sequence > before + 1
ORDER BY epoch, first;

-- name: doubles
-- One number, several events: somebody wrote what no edge stated.
SELECT epoch, sequence, array_agg(request_id ORDER BY request_id) AS request_ids
FROM usage_events
WHERE epoch = ANY ($1::uuid[]) AND started_at >= $2
GROUP BY epoch, sequence
HAVING count(*) > 1
ORDER BY epoch, sequence
LIMIT $3;

-- name: wrong_totals
-- Hours whose totals are not the sum of their events. One statement sees both as of one
-- moment, so that it can run while usage is folded.
WITH summed AS (
    SELECT
        account_id, date_trunc('hour', started_at, 'UTC') AS hour, key_id COLLATE "C" AS key_id,
        model COLLATE "C" AS model, task COLLATE "C" AS task, status,
        ARRAY[
            sum(requests), sum(input_tokens), sum(output_tokens), sum(input_words),
            sum(output_words), sum(input_characters), sum(output_characters), sum(device_ms),
            sum(cost), sum(errors), sum(translated_characters)
        ]::bigint[] AS quantities
    FROM usage_events
    WHERE started_at >= $1 AND started_at < $2
    GROUP BY 1, 2, 3, 4, 5, 6
), totals AS (
    SELECT
        account_id, hour, key_id, model, task, status,
        ARRAY[
            requests, input_tokens, output_tokens, input_words, output_words, input_characters,
            output_characters, device_ms, cost, errors, translated_characters
        ] AS quantities
    FROM usage_totals
    WHERE hour >= $1 AND hour < $2
)
SELECT
    account_id, hour, key_id, model, task, status,
    summed.quantities AS summed, totals.quantities AS total
FROM summed
FULL JOIN totals USING (account_id, hour, key_id, model, task, status)
WHERE summed.quantities IS DISTINCT FROM totals.quantities
ORDER BY hour, account_id, key_id, model, task, status
LIMIT $3;

-- name: stored
-- The rows of events that were read elsewhere; the range leaves out most chunks.
SELECT event.*
FROM unnest($1::timestamptz[], $2::uuid[], $3::integer[], $4::boolean[])
    AS wanted (started_at, request_id, part, voids)
JOIN usage_events AS event USING (request_id, part, voids, started_at)
WHERE event.started_at BETWEEN $5 AND $6;

-- name: unbacked
-- Hours that have totals and no event at all: theirs are gone.
SELECT DISTINCT hour
FROM usage_totals AS total
WHERE hour >= $1 AND hour < $2
    AND NOT EXISTS (
        SELECT FROM usage_events AS event
        WHERE event.started_at >= total.hour AND event.started_at < total.hour + interval '1 hour'
    )
ORDER BY hour
LIMIT 1;

-- name: hours
-- Those of which there is anything.
SELECT date_trunc('hour', started_at, 'UTC') AS hour
FROM usage_events
WHERE started_at >= $1 AND started_at < $2
UNION
SELECT hour
FROM usage_totals
WHERE hour >= $1 AND hour < $2
ORDER BY hour;

-- name: forget_totals
DELETE FROM usage_totals WHERE hour >= $1 AND hour < $2;

-- name: rebuild_totals
INSERT INTO usage_totals (
    account_id, hour, key_id, model, task, status, requests, input_tokens, output_tokens,
    input_words, output_words, input_characters, output_characters, device_ms, cost, errors,
    translated_characters
)
SELECT
    account_id, date_trunc('hour', started_at, 'UTC'), key_id, model, task, status,
    sum(requests), sum(input_tokens), sum(output_tokens), sum(input_words), sum(output_words),
    sum(input_characters), sum(output_characters), sum(device_ms), sum(cost), sum(errors),
    sum(translated_characters)
FROM usage_events
WHERE started_at >= $1 AND started_at < $2
GROUP BY 1, 2, 3, 4, 5, 6;
