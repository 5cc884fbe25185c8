-- name: announce
INSERT INTO outbox (subject, payload)
SELECT subject, payload FROM unnest($1::text[], $2::bytea[]) AS told (subject, payload);

-- name: wake
-- Delivered when the transaction commits, and only then.
SELECT pg_notify('outbox', '');

-- name: oldest
SELECT id, subject, payload FROM outbox ORDER BY id LIMIT $1;

-- name: forget
DELETE FROM outbox WHERE id = ANY($1::bigint[]);
