-- name: delete_passed
-- By the key, not by the time, which has no index of its own: ids are ordered by time.
DELETE FROM usage_events
WHERE request_id IN (
    SELECT request_id FROM usage_events WHERE request_id < $1 ORDER BY request_id LIMIT $2
) AND request_id < $1;
