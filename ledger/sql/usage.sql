-- name: fold_usage
-- NATS redelivers. The key turns a repeat into a no-op, and only rows that were
-- new reach the totals. A void is a row of its own with negative quantities, so
-- sums are right whichever of the two comes first. Both ORDER BY: two consumers
-- that lock the same keys, or the same totals, in different orders deadlock.
-- Numbers come as one text a column, which the client writes ten times as fast as
-- an array; the time is in the id, in milliseconds. Of plans and rates a batch has few,
-- and its events number them.
WITH stored AS (
    INSERT INTO usage_events (
        started_at, request_id, part, voids, account_id, key_id, model, task, status,
        duration_ms, epoch, sequence, requests, input_tokens, output_tokens, input_words,
        output_words, input_characters, output_characters, device_ms, cost, errors,
        translated_characters, plan, rates
    )
    SELECT
        timestamptz 'epoch' + started_ms * interval '1 millisecond', request_id, part, voids,
        account_id, key_id, model, task, status, duration_ms, epoch, sequence, requests,
        input_tokens, output_tokens, input_words, output_words, input_characters,
        output_characters, device_ms, cost, errors, translated_characters,
        ($25::text[])[terms], ($26::text[])[terms]
    FROM unnest(
        $1::text::bigint[], $2::uuid[], $3::text::integer[], $4::text::boolean[], $5::uuid[],
        $6::text[], $7::text[], $8::text[], $9::text::smallint[], $10::text::bigint[],
        $11::uuid[], $12::text::bigint[], $13::text::bigint[], $14::text::bigint[],
        $15::text::bigint[], $16::text::bigint[], $17::text::bigint[], $18::text::bigint[],
        $19::text::bigint[], $20::text::bigint[], $21::text::bigint[], $22::text::bigint[],
        $23::text::bigint[], $24::text::integer[]
    ) AS event (
        started_ms, request_id, part, voids, account_id, key_id, model, task, status,
        duration_ms, epoch, sequence, requests, input_tokens, output_tokens, input_words,
        output_words, input_characters, output_characters, device_ms, cost, errors,
        translated_characters, terms
    )
    ORDER BY request_id, part, voids
    ON CONFLICT DO NOTHING
    RETURNING
        started_at, account_id, key_id, model, task, status, requests, input_tokens,
        output_tokens, input_words, output_words, input_characters, output_characters,
        device_ms, cost, errors, translated_characters
), folded AS (
    INSERT INTO usage_totals AS total (
        account_id, hour, key_id, model, task, status, requests, input_tokens, output_tokens,
        input_words, output_words, input_characters, output_characters, device_ms, cost, errors,
        translated_characters
    )
    SELECT
        account_id, date_trunc('hour', started_at, 'UTC'), key_id, model, task, status,
        sum(requests), sum(input_tokens), sum(output_tokens), sum(input_words),
        sum(output_words), sum(input_characters), sum(output_characters), sum(device_ms),
        sum(cost), sum(errors), sum(translated_characters)
    FROM stored
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (account_id, hour, key_id, model, task, status) DO UPDATE
    SET requests = total.requests + excluded.requests,
        input_tokens = total.input_tokens + excluded.input_tokens,
        output_tokens = total.output_tokens + excluded.output_tokens,
        input_words = total.input_words + excluded.input_words,
        output_words = total.output_words + excluded.output_words,
        input_characters = total.input_characters + excluded.input_characters,
        output_characters = total.output_characters + excluded.output_characters,
        device_ms = total.device_ms + excluded.device_ms,
        cost = total.cost + excluded.cost,
        errors = total.errors + excluded.errors,
        translated_characters = total.translated_characters + excluded.translated_characters
)
SELECT count(*) FROM stored;

-- name: measure_usage
SELECT coalesce(sum(CASE $2::text
    WHEN 'requests' THEN requests
    WHEN 'input_tokens' THEN input_tokens
    WHEN 'output_tokens' THEN output_tokens
    WHEN 'input_words' THEN input_words
    WHEN 'output_words' THEN output_words
    WHEN 'input_characters' THEN input_characters
    WHEN 'output_characters' THEN output_characters
    WHEN 'translated_characters' THEN translated_characters
    WHEN 'cost' THEN cost
END), 0)::bigint
FROM usage_totals
WHERE account_id = $1
    AND ($3::text IS NULL OR key_id = $3)
    AND ($4::text[] = '{}' OR model = ANY($4) OR task = ANY($4))
    AND hour >= $5
    AND ($6::timestamptz IS NULL OR hour < $6);
