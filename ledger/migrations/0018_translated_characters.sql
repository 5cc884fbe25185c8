-- The characters that a translator read, apart from those of the model.
SET LOCAL lock_timeout = '3s';

ALTER TABLE usage_events
    ADD COLUMN IF NOT EXISTS translated_characters bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_totals
    ADD COLUMN IF NOT EXISTS translated_characters bigint NOT NULL DEFAULT 0;

-- a star stands for the columns that there were when the view was made
CREATE OR REPLACE VIEW tenant.usage_events WITH (security_barrier) AS
SELECT * FROM public.usage_events
WHERE account_id = current_setting('tollgate.account_id')::uuid;

CREATE OR REPLACE VIEW tenant.usage_totals WITH (security_barrier) AS
SELECT * FROM public.usage_totals
WHERE account_id = current_setting('tollgate.account_id')::uuid;

CREATE OR REPLACE VIEW stripe_metered AS
SELECT
    event_name,
    account_id,
    hour,
    sum(CASE unit
        WHEN 'requests' THEN requests
        WHEN 'input_tokens' THEN input_tokens
        WHEN 'output_tokens' THEN output_tokens
        WHEN 'input_words' THEN input_words
        WHEN 'output_words' THEN output_words
        WHEN 'input_characters' THEN input_characters
        WHEN 'output_characters' THEN output_characters
        WHEN 'translated_characters' THEN translated_characters
        WHEN 'device_ms' THEN device_ms
        WHEN 'cost' THEN cost
    END) AS amount
FROM stripe_meters
JOIN usage_totals
    ON hour >= since AND (covers = '{}' OR model = ANY (covers) OR task = ANY (covers))
GROUP BY 1, 2, 3;
