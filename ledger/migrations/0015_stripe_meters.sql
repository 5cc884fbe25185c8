-- What Stripe's meters are told: see ledger/stripe/meters.py.
SET LOCAL lock_timeout = '3s';

CREATE TABLE IF NOT EXISTS stripe_meters (
    event_name text PRIMARY KEY,
    unit text NOT NULL,
    covers text[] NOT NULL,
    since timestamptz NOT NULL,
    frozen_until timestamptz,
    frozen_at timestamptz
);

CREATE TABLE IF NOT EXISTS stripe_meter_events (
    event_name text NOT NULL REFERENCES stripe_meters,
    hour timestamptz NOT NULL,
    account_id uuid NOT NULL,
    number integer NOT NULL,
    customer text NOT NULL,
    amount bigint NOT NULL,
    identifier uuid NOT NULL,
    frozen_at timestamptz NOT NULL DEFAULT now(),
    tried_at timestamptz,
    fate text NOT NULL DEFAULT 'frozen',
    settled_at timestamptz,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (event_name, hour, account_id, number),
    CONSTRAINT stripe_meter_events_fate_check
        CHECK (fate IN ('frozen', 'sent', 'parked', 'written off'))
);

CREATE INDEX IF NOT EXISTS stripe_meter_events_open_idx
    ON stripe_meter_events (fate, hour) WHERE fate IN ('frozen', 'parked');

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
        WHEN 'device_ms' THEN device_ms
        WHEN 'cost' THEN cost
    END) AS amount
FROM stripe_meters
JOIN usage_totals
    ON hour >= since AND (covers = '{}' OR model = ANY (covers) OR task = ANY (covers))
GROUP BY 1, 2, 3;
