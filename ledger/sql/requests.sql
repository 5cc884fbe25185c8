-- name: find_request
-- All parts of one request. Its time is in its id, and names the chunk that they are in.
-- What was voided counts as if it had never been there: also where the void came first.
-- A row of errors stands for many requests, and is no record of one.
WITH parts AS (
    SELECT *, bool_or(voids) OVER (PARTITION BY part) AS voided
    FROM usage_events
    WHERE request_id = $1
        AND started_at = $2
        AND ($3::uuid IS NULL OR account_id = $3)
        AND errors = 0
)
SELECT
    account_id, key_id, model, task, plan, rates,
    max(status) AS status,
    max(duration_ms) AS duration_ms,
    max(recorded_at) AS recorded_at,
    count(*) FILTER (WHERE NOT voided) AS parts,
    coalesce(sum(requests) FILTER (WHERE NOT voided), 0)::bigint AS requests,
    coalesce(sum(input_tokens) FILTER (WHERE NOT voided), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE NOT voided), 0)::bigint AS output_tokens,
    coalesce(sum(input_words) FILTER (WHERE NOT voided), 0)::bigint AS input_words,
    coalesce(sum(output_words) FILTER (WHERE NOT voided), 0)::bigint AS output_words,
    coalesce(sum(input_characters) FILTER (WHERE NOT voided), 0)::bigint AS input_characters,
    coalesce(sum(output_characters) FILTER (WHERE NOT voided), 0)::bigint AS output_characters,
    coalesce(sum(device_ms) FILTER (WHERE NOT voided), 0)::bigint AS device_ms,
    coalesce(sum(cost) FILTER (WHERE NOT voided), 0)::bigint AS cost,
    0::bigint AS errors,
    coalesce(sum(translated_characters) FILTER (WHERE NOT voided), 0)::bigint
        AS translated_characters
FROM parts
GROUP BY account_id, key_id, model, task, plan, rates;
