-- name: read_jobs
SELECT
    jobs.job_id AS id,
    jobs.proc_name AS policy,
    jobs.hypertable_name AS table,
    jobs.scheduled,
    extract(epoch FROM jobs.schedule_interval)::float8 AS every_s,
    extract(epoch FROM (jobs.config ->> 'start_offset')::interval)::float8 AS start_s,
    extract(epoch FROM coalesce(
        jobs.config ->> 'drop_after', jobs.config ->> 'compress_after'
    )::interval)::float8 AS after_s,
    stats.last_run_status AS last_status,
    CASE
        WHEN stats.last_successful_finish > '-infinity' THEN stats.last_successful_finish
    END AS last_success,
    (
        SELECT err_message
        FROM timescaledb_information.job_errors AS errors
        WHERE errors.job_id = jobs.job_id
        ORDER BY start_time DESC
        LIMIT 1
    ) AS last_error
FROM timescaledb_information.jobs
    LEFT JOIN timescaledb_information.job_stats AS stats USING (job_id)
WHERE jobs.hypertable_name IN (
    'usage_events', 'usage_minutes', 'usage_hours', 'usage_days', 'usage_months'
)
ORDER BY 1;
