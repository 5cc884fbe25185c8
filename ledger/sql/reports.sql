-- name: report
-- Of one account, or of all: from $1 to $2, so that the key's index serves both. Hours
-- and longer are added up from the totals, minutes ($3) from the events themselves.
-- What is not grouped by is empty, so that a row's position compares with any other's.
WITH used AS (
    SELECT
        hour AS used_at, account_id, key_id, model, task, status, requests, input_tokens,
        output_tokens, input_words, output_words, input_characters, output_characters,
        device_ms, cost, errors, translated_characters
    FROM usage_totals
    WHERE NOT $3::boolean
        AND account_id BETWEEN $1 AND $2
        AND hour >= $4 AND hour < $5
    UNION ALL
    SELECT
        started_at, account_id, key_id COLLATE "C", model COLLATE "C", task COLLATE "C", status,
        requests, input_tokens, output_tokens, input_words, output_words, input_characters,
        output_characters, device_ms, cost, errors, translated_characters
    FROM usage_events
    WHERE $3::boolean
        AND account_id BETWEEN $1 AND $2
        AND started_at >= $4 AND started_at < $5
), grouped AS (
    SELECT
        date_trunc($6::text, used_at, 'UTC') AS bucket,
        CASE WHEN 'account' = ANY ($7::text[]) THEN account_id::text ELSE '' END COLLATE "C"
            AS account_id,
        CASE WHEN 'key' = ANY ($7) THEN key_id ELSE '' END AS key_id,
        CASE WHEN 'model' = ANY ($7) THEN model ELSE '' END AS model,
        CASE WHEN 'task' = ANY ($7) THEN task ELSE '' END AS task,
        CASE WHEN 'status' = ANY ($7) THEN status::integer ELSE 0 END AS status,
        sum(requests)::bigint AS requests,
        sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens,
        sum(input_words)::bigint AS input_words,
        sum(output_words)::bigint AS output_words,
        sum(input_characters)::bigint AS input_characters,
        sum(output_characters)::bigint AS output_characters,
        sum(device_ms)::bigint AS device_ms,
        sum(cost)::bigint AS cost,
        sum(errors)::bigint AS errors,
        sum(translated_characters)::bigint AS translated_characters
    FROM used
    WHERE ($8::text[] = '{}' OR key_id = ANY ($8))
        AND ($9::text[] = '{}' OR model = ANY ($9))
        AND ($10::text[] = '{}' OR task = ANY ($10))
        AND ($11::integer[] = '{}' OR status = ANY ($11))
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT * FROM grouped
WHERE $12::timestamptz IS NULL
    OR (bucket, account_id, key_id, model, task, status)
        < ($12, $13::text, $14::text, $15::text, $16::text, $17::integer)
ORDER BY
    CASE $18::text
        WHEN 'requests' THEN requests
        WHEN 'input_tokens' THEN input_tokens
        WHEN 'output_tokens' THEN output_tokens
        WHEN 'input_words' THEN input_words
        WHEN 'output_words' THEN output_words
        WHEN 'input_characters' THEN input_characters
        WHEN 'output_characters' THEN output_characters
        WHEN 'device_ms' THEN device_ms
        WHEN 'cost' THEN cost
        WHEN 'errors' THEN errors
        WHEN 'translated_characters' THEN translated_characters
    END DESC,
    bucket DESC, account_id DESC, key_id DESC, model DESC, task DESC, status DESC
LIMIT $19;

-- name: latencies
-- How long answers took, of the same groups. A part of a stream that was not its last
-- has no duration, and what was taken back has one that does not count.
SELECT
    date_trunc($5::text, started_at, 'UTC') AS bucket,
    CASE WHEN 'account' = ANY ($6::text[]) THEN account_id::text ELSE '' END AS account_id,
    CASE WHEN 'key' = ANY ($6) THEN key_id ELSE '' END AS key_id,
    CASE WHEN 'model' = ANY ($6) THEN model ELSE '' END AS model,
    CASE WHEN 'task' = ANY ($6) THEN task ELSE '' END AS task,
    CASE WHEN 'status' = ANY ($6) THEN status::integer ELSE 0 END AS status,
    percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS percentiles
FROM usage_events
WHERE account_id BETWEEN $1 AND $2
    AND started_at >= $3 AND started_at < $4
    AND NOT voids AND duration_ms > 0
    AND ($7::text[] = '{}' OR key_id = ANY ($7))
    AND ($8::text[] = '{}' OR model = ANY ($8))
    AND ($9::text[] = '{}' OR task = ANY ($9))
    AND ($10::integer[] = '{}' OR status = ANY ($10))
GROUP BY 1, 2, 3, 4, 5, 6;
