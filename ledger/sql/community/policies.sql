-- For psycopg: its placeholders.

-- name: find_columnstore
SELECT compression_enabled
FROM timescaledb_information.hypertables
WHERE hypertable_schema = current_schema AND hypertable_name = %(table)s
UNION ALL
SELECT compression_enabled
FROM timescaledb_information.continuous_aggregates
WHERE view_schema = current_schema AND view_name = %(table)s;

-- name: find_same_refresh
SELECT job_id
FROM timescaledb_information.jobs
WHERE proc_name = 'policy_refresh_continuous_aggregate'
    AND hypertable_name = %(aggregate)s
    AND (config ->> 'start_offset')::interval = %(start)s
    AND (config ->> 'end_offset')::interval = %(end)s
    AND schedule_interval = %(every)s
    AND (config ->> 'buckets_per_batch')::integer = %(batch)s;

-- name: remove_refresh
SELECT remove_continuous_aggregate_policy(%(aggregate)s::regclass, if_exists => true);

-- name: add_refresh
-- By default ten buckets make a transaction (TimescaleDB 2.23): a month of minutes, 4,464.
SELECT add_continuous_aggregate_policy(
    %(aggregate)s::regclass,
    start_offset => %(start)s::interval,
    end_offset => %(end)s::interval,
    schedule_interval => %(every)s::interval,
    buckets_per_batch => %(batch)s
);

-- name: find_oldest_chunk
-- A day's chunk, in UTC, so it begins with a bucket; none that leaves nothing to refresh.
-- An aggregate's chunks are those of the table in which it is materialized.
SELECT min(range_start)
FROM timescaledb_information.chunks
WHERE hypertable_name = coalesce(
    (
        SELECT materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates
        WHERE view_name = %(source)s
    ),
    %(source)s
)
HAVING min(range_start) < now() - %(end)s::interval - interval '2 hours';

-- name: refresh
CALL refresh_continuous_aggregate(%s::regclass, %s::timestamptz, now() - %s::interval);

-- name: find_same_columnstore
SELECT job_id
FROM timescaledb_information.jobs
WHERE proc_name = 'policy_compression'
    AND hypertable_name = %(table)s
    AND (config ->> 'compress_after')::interval = %(after)s;

-- name: remove_columnstore
CALL remove_columnstore_policy(%(table)s::regclass, if_exists => true);

-- name: add_columnstore
CALL add_columnstore_policy(%(table)s::regclass, after => %(after)s::interval);

-- name: find_same_retention
SELECT job_id
FROM timescaledb_information.jobs
WHERE proc_name = 'policy_retention'
    AND hypertable_name = %(table)s
    AND (config ->> 'drop_after')::interval = %(after)s;

-- name: remove_retention
SELECT remove_retention_policy(%(table)s::regclass, if_exists => true);

-- name: add_retention
SELECT add_retention_policy(%(table)s::regclass, %(after)s::interval);
