-- name: note_reached
-- Many edges see it, and one of them is the first.
INSERT INTO budget_alerts (account_id, budget, window_start, amount, percent)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: set_webhook
INSERT INTO webhooks (account_id, url, secret) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET url = excluded.url, secret = excluded.secret;

-- name: drop_webhook
DELETE FROM webhooks WHERE account_id = $1;

-- name: find_webhook
SELECT url, secret FROM webhooks WHERE account_id = $1;
