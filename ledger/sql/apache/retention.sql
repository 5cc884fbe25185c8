-- name: drop_chunks
-- Chunks that are wholly older: days, in UTC.
SELECT count(*)::integer
FROM drop_chunks('usage_events', older_than => $1::timestamptz);
