-- name: read_server
SELECT
    current_setting('server_version_num')::integer AS server,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
    current_setting('timescaledb.license', true) AS license,
    pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers,
    current_setting('max_worker_processes')::integer AS worker_processes,
    current_setting('max_parallel_workers')::integer AS parallel_workers,
    current_setting('timescaledb.max_background_workers', true)::integer AS background_workers,
    current_setting('max_locks_per_transaction')::integer AS locks_per_transaction,
    current_setting('fsync') = 'on'
        AND current_setting('full_page_writes') = 'on'
        AND current_setting('synchronous_commit') <> 'off' AS durable,
    (SELECT count(*) FROM pg_database WHERE datallowconn)::integer AS databases,
    to_regclass('usage_minutes') IS NOT NULL AS has_aggregates;

-- name: find_oldest_event
SELECT started_at FROM usage_events ORDER BY request_id LIMIT 1;
