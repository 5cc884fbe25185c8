-- name: announce
INSERT INTO outbox (subject, payload)
SELECT subject, payload FROM unnest($1::text[], $2::bytea[]) AS told (subject, payload);

-- name: wake
-- Delivered when the transaction commits, and only then.
SELECT pg_notify('outbox', '');

-- name: claim
-- One relay at a time, or two could publish two words on one account the wrong way round.
-- The lock is the session's: it goes with its process.
SELECT pg_try_advisory_lock(hashtext('outbox')::bigint);

-- name: oldest
SELECT id, subject, payload FROM outbox ORDER BY id LIMIT $1;

-- name: forget
DELETE FROM outbox WHERE id = ANY($1::bigint[]);
