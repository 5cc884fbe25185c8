-- name: find_extension
-- The license is TimescaleDB's word for its edition; of a server that only has the files
-- on its disk there is no such setting.
SELECT current_setting('timescaledb.license', true)
FROM pg_extension
WHERE extname = 'timescaledb';

-- name: find_hypertable
-- Only where the extension is.
SELECT count(*)::integer
FROM timescaledb_information.hypertables
WHERE hypertable_schema = current_schema AND hypertable_name = 'usage_events';
