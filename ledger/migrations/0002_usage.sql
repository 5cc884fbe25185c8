-- Usage events and their hourly totals.
SET LOCAL lock_timeout = '3s';

-- TimescaleDB where the server has it: in shared_preload_libraries, which is when
-- its loader has defined this setting, and not merely on the disk. Without the
-- preload, CREATE EXTENSION ends the whole session.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers'
    ) THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no right to create the extension timescaledb: going on without it';
END
$$;

CREATE TABLE IF NOT EXISTS usage_events (
    started_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    part integer NOT NULL,
    voids boolean NOT NULL,
    account_id uuid NOT NULL,
    key_id text NOT NULL,
    model text NOT NULL,
    task text NOT NULL,
    status smallint NOT NULL,
    duration_ms bigint NOT NULL,
    epoch uuid NOT NULL,
    sequence bigint NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    input_words bigint NOT NULL,
    output_words bigint NOT NULL,
    input_characters bigint NOT NULL,
    output_characters bigint NOT NULL,
    device_ms bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, part, voids, started_at)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable(
            'usage_events', 'started_at',
            chunk_time_interval => interval '1 day',
            create_default_indexes => false,
            if_not_exists => true
        );
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS usage_totals (
    account_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    status smallint NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    input_words bigint NOT NULL,
    output_words bigint NOT NULL,
    input_characters bigint NOT NULL,
    output_characters bigint NOT NULL,
    device_ms bigint NOT NULL,
    PRIMARY KEY (account_id, hour, key_id, model, task, status)
) WITH (fillfactor = 70);
