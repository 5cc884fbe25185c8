-- name: view_usage_by_minute
-- time_bucket instead of date_trunc: TimescaleDB derives from a condition on the bucket
-- which chunks to read, and a chart of the last hour reads one instead of ninety.
CREATE OR REPLACE VIEW usage_by_minute AS
SELECT
    time_bucket('1 minute', started_at) AS bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
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
FROM usage_events
GROUP BY 1, 2, 3, 4, 5, 6;
