-- Continuous aggregates, each made of the one before it, and the views that lead to
-- them: so that what others build on the views' names survives a change of edition.
-- All buckets are of UTC, which is what time_bucket counts in without a time zone: with
-- one, a bulk write over several chunks can lose rows (timescale/timescaledb#10296).

-- An aggregate takes no new column, and made anew it would not know what its events are gone
-- of. So what came later, `translated_characters`, is looked up: row by row, and only by
-- those who ask for it.

-- name: make_usage_minutes
-- materialized_only = false: what is newer than the last refresh is added up when asked.
-- One index by account for all, instead of one for each column.
-- The chunks are as long as those of usage_events, so that both lose the same days.
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_minutes WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '1 day'
) AS
SELECT
    time_bucket('1 minute', started_at) AS bucket,
    account_id,
    key_id,
    model,
    task,
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
    sum(errors)::bigint AS errors
FROM usage_events
GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA;

-- name: index_usage_minutes
CREATE INDEX IF NOT EXISTS usage_minutes_account_id_bucket_idx
    ON usage_minutes (account_id, bucket);

-- name: view_usage_by_minute
CREATE OR REPLACE VIEW usage_by_minute AS
SELECT
    bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
    requests,
    input_tokens,
    output_tokens,
    input_words,
    output_words,
    input_characters,
    output_characters,
    device_ms,
    cost,
    errors,
    (
        SELECT coalesce(sum(found.translated_characters), 0)::bigint
        FROM usage_events AS found
        WHERE found.account_id = usage_minutes.account_id
            AND found.started_at >= bucket
            AND found.started_at < bucket + interval '1 minute'
            AND found.key_id = usage_minutes.key_id COLLATE "C"
            AND found.model = usage_minutes.model COLLATE "C"
            AND found.task = usage_minutes.task COLLATE "C"
            AND found.status = usage_minutes.status
    ) AS translated_characters
FROM usage_minutes;

-- name: make_usage_hours
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hours WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '30 days'
) AS
SELECT
    time_bucket('1 hour', bucket) AS bucket,
    account_id,
    key_id,
    model,
    task,
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
    sum(errors)::bigint AS errors
FROM usage_minutes
GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA;

-- name: index_usage_hours
CREATE INDEX IF NOT EXISTS usage_hours_account_id_bucket_idx
    ON usage_hours (account_id, bucket);

-- name: view_usage_by_hour
CREATE OR REPLACE VIEW usage_by_hour AS
SELECT
    bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
    requests,
    input_tokens,
    output_tokens,
    input_words,
    output_words,
    input_characters,
    output_characters,
    device_ms,
    cost,
    errors,
    (
        SELECT coalesce(sum(found.translated_characters), 0)::bigint
        FROM usage_totals AS found
        WHERE found.account_id = usage_hours.account_id
            AND found.hour >= bucket
            AND found.hour < bucket + interval '1 hour'
            AND found.key_id = usage_hours.key_id COLLATE "C"
            AND found.model = usage_hours.model COLLATE "C"
            AND found.task = usage_hours.task COLLATE "C"
            AND found.status = usage_hours.status
    ) AS translated_characters
FROM usage_hours;

-- name: make_usage_days
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_days WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '1 year'
) AS
SELECT
    time_bucket('1 day', bucket) AS bucket,
    account_id,
    key_id,
    model,
    task,
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
    sum(errors)::bigint AS errors
FROM usage_hours
GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA;

-- name: index_usage_days
CREATE INDEX IF NOT EXISTS usage_days_account_id_bucket_idx
    ON usage_days (account_id, bucket);

-- name: view_usage_by_day
CREATE OR REPLACE VIEW usage_by_day AS
SELECT
    bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
    requests,
    input_tokens,
    output_tokens,
    input_words,
    output_words,
    input_characters,
    output_characters,
    device_ms,
    cost,
    errors,
    (
        SELECT coalesce(sum(found.translated_characters), 0)::bigint
        FROM usage_totals AS found
        WHERE found.account_id = usage_days.account_id
            AND found.hour >= bucket
            AND found.hour < bucket + interval '24 hours'
            AND found.key_id = usage_days.key_id COLLATE "C"
            AND found.model = usage_days.model COLLATE "C"
            AND found.task = usage_days.task COLLATE "C"
            AND found.status = usage_days.status
    ) AS translated_characters
FROM usage_days;

-- name: make_usage_months
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_months WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '10 years'
) AS
SELECT
    time_bucket('1 month', bucket) AS bucket,
    account_id,
    key_id,
    model,
    task,
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
    sum(errors)::bigint AS errors
FROM usage_days
GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA;

-- name: index_usage_months
CREATE INDEX IF NOT EXISTS usage_months_account_id_bucket_idx
    ON usage_months (account_id, bucket);

-- name: view_usage_by_month
CREATE OR REPLACE VIEW usage_by_month AS
SELECT
    bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
    requests,
    input_tokens,
    output_tokens,
    input_words,
    output_words,
    input_characters,
    output_characters,
    device_ms,
    cost,
    errors,
    (
        SELECT coalesce(sum(found.translated_characters), 0)::bigint
        FROM usage_totals AS found
        WHERE found.account_id = usage_months.account_id
            AND found.hour >= bucket
            AND found.hour < (bucket AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
            AND found.key_id = usage_months.key_id COLLATE "C"
            AND found.model = usage_months.model COLLATE "C"
            AND found.task = usage_months.task COLLATE "C"
            AND found.status = usage_months.status
    ) AS translated_characters
FROM usage_months;

-- name: compress_usage_events
-- Not segmented by account, as one would think: of an account with few events a day
-- nothing fills a batch of a thousand. Sorted by it, a batch knows its first and last.
ALTER TABLE usage_events SET (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = '',
    timescaledb.orderby = 'account_id, started_at'
);

-- name: compress_usage_minutes
ALTER MATERIALIZED VIEW usage_minutes SET (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = '',
    timescaledb.orderby = 'account_id, bucket'
);
