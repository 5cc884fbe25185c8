-- What translators read is to be seen where all else that was used is. TimescaleDB's editions
-- get their own views after each migration, as they had them: see 0007.
SET LOCAL lock_timeout = '3s';

CREATE OR REPLACE VIEW usage_by_minute AS
SELECT
    date_trunc('minute', started_at, 'UTC') AS bucket,
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

CREATE OR REPLACE VIEW usage_by_hour AS
SELECT
    hour AS bucket,
    account_id,
    key_id,
    model,
    task,
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
    translated_characters
FROM usage_totals;

CREATE OR REPLACE VIEW usage_by_day AS
SELECT
    date_trunc('day', hour, 'UTC') AS bucket,
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
    sum(errors)::bigint AS errors,
    sum(translated_characters)::bigint AS translated_characters
FROM usage_totals
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE OR REPLACE VIEW usage_by_month AS
SELECT
    date_trunc('month', hour, 'UTC') AS bucket,
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
    sum(errors)::bigint AS errors,
    sum(translated_characters)::bigint AS translated_characters
FROM usage_totals
GROUP BY 1, 2, 3, 4, 5, 6;
