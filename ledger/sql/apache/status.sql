-- name: read_chunks
SELECT
    (
        SELECT extract(epoch FROM time_interval)::bigint
        FROM timescaledb_information.dimensions
        WHERE hypertable_schema = current_schema AND hypertable_name = 'usage_events'
    ) AS interval_s,
    count(*)::integer AS chunks,
    coalesce(max(total_bytes), 0)::bigint AS largest_bytes,
    coalesce(max(index_bytes), 0)::bigint AS largest_index_bytes
FROM chunks_detailed_size('usage_events');
