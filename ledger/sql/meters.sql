-- name: declare_meter
-- One that is known stays what it is; only where it begins may change.
INSERT INTO stripe_meters AS known (event_name, unit, covers, since)
VALUES ($1, $2, $3::text[], $4)
ON CONFLICT (event_name) DO UPDATE SET since = excluded.since
WHERE known.unit = excluded.unit AND known.covers = excluded.covers
RETURNING event_name;

-- name: freeze
-- What the totals of some hours are more, or less, than what was frozen of them before. One
-- statement sees both as of one moment; what is folded later is the next one's difference.
-- Two at once would number alike: the key lets one of them in. Stripe takes 15 digits: what
-- is more is nobody's usage, a verification names it, and the others go on.
WITH used AS (
    SELECT account_id, hour, amount
    FROM stripe_metered
    WHERE event_name = $1 AND hour >= $2::timestamptz AND hour < $3::timestamptz
), frozen AS (
    SELECT account_id, hour, sum(amount)::bigint AS amount, max(number) AS number
    FROM stripe_meter_events
    JOIN stripe_meters USING (event_name)
    WHERE event_name = $1 AND hour >= greatest($2, since) AND hour < $3
    GROUP BY 1, 2
), inserted AS (
    INSERT INTO stripe_meter_events (
        event_name, hour, account_id, number, customer, amount, identifier
    )
    SELECT
        $1, hour, account_id, coalesce(number, 0) + 1, stripe_customer,
        coalesce(used.amount, 0) - coalesce(frozen.amount, 0),
        md5(concat_ws(
            '/', $1, extract(epoch FROM hour)::bigint, account_id, coalesce(number, 0) + 1
        ))::uuid
    FROM used
    FULL JOIN frozen USING (account_id, hour)
    JOIN accounts ON accounts.id = account_id
    WHERE stripe_customer IS NOT NULL
        AND coalesce(used.amount, 0) <> coalesce(frozen.amount, 0)
        AND abs(coalesce(used.amount, 0) - coalesce(frozen.amount, 0)) < 1e15
    ON CONFLICT DO NOTHING
    RETURNING 1
), noted AS (
    UPDATE stripe_meters SET frozen_until = $3, frozen_at = now() WHERE event_name = $1
)
SELECT count(*) FROM inserted;

-- name: claim
-- The next ones to be sent, each noted before it is. Of one hour they go one after the
-- other, so that it is always known of which one Stripe may have heard.
UPDATE stripe_meter_events AS claimed
SET tried_at = coalesce(claimed.tried_at, $2)
FROM (
    SELECT event_name, hour, account_id, number
    FROM stripe_meter_events AS event
    WHERE fate = 'frozen'
        AND event_name = ANY ($1::text[])
        AND (tried_at > $3 OR tried_at IS NULL AND hour >= $3)
        AND NOT EXISTS (
            SELECT FROM stripe_meter_events AS before
            WHERE before.event_name = event.event_name
                AND before.hour = event.hour
                AND before.account_id = event.account_id
                AND before.number < event.number
                AND before.fate IN ('frozen', 'parked')
        )
    ORDER BY hour, event_name, account_id
    LIMIT $4
) AS next
WHERE claimed.event_name = next.event_name
    AND claimed.hour = next.hour
    AND claimed.account_id = next.account_id
    AND claimed.number = next.number
RETURNING
    claimed.event_name, claimed.hour, claimed.account_id, claimed.number, claimed.customer,
    claimed.amount, claimed.identifier;

-- name: settle
UPDATE stripe_meter_events AS event
SET fate = told.fate, reason = told.reason, settled_at = now()
FROM unnest(
    $1::text[], $2::timestamptz[], $3::uuid[], $4::integer[], $5::text[], $6::text[]
) AS told (event_name, hour, account_id, number, fate, reason)
WHERE event.event_name = told.event_name
    AND event.hour = told.hour
    AND event.account_id = told.account_id
    AND event.number = told.number;

-- name: doubtful
-- Stripe may have them and not know their identifiers any more: sent long ago and not answered,
-- or of hours so long ago that a ledger which was restored may have forgotten that it sent them.
SELECT event_name, hour, account_id, number, customer, amount, identifier
FROM stripe_meter_events AS event
WHERE fate = 'frozen'
    AND event_name = ANY ($1::text[])
    AND (tried_at <= $2 OR tried_at IS NULL AND hour < $2)
    AND NOT EXISTS (
        SELECT FROM stripe_meter_events AS before
        WHERE before.event_name = event.event_name
            AND before.hour = event.hour
            AND before.account_id = event.account_id
            AND before.number < event.number
            AND before.fate IN ('frozen', 'parked')
    )
ORDER BY event_name, customer, hour;

-- name: not_there
-- Stripe does not have them: they can be sent as if for the first time, now.
UPDATE stripe_meter_events SET tried_at = $2 WHERE identifier = ANY ($1::uuid[]) AND fate = 'frozen';

-- name: park_passed
UPDATE stripe_meter_events
SET fate = 'parked', settled_at = now(), reason = $2
WHERE fate = 'frozen' AND hour < $1;

-- name: open
SELECT DISTINCT event_name FROM stripe_meter_events WHERE fate = 'frozen';

-- name: parked
SELECT event_name, hour, account_id, number, customer, amount, identifier, reason
FROM stripe_meter_events
WHERE fate = 'parked'
ORDER BY hour, event_name, account_id, number
LIMIT $1;

-- name: unsent
-- What is parked, and what was frozen for long and has not been sent.
SELECT event_name, hour, account_id, number, customer, amount, identifier, reason, fate
FROM stripe_meter_events
WHERE fate = 'parked' OR fate = 'frozen' AND frozen_at < $1
ORDER BY hour, event_name, account_id, number
LIMIT $2;

-- name: release
-- A refusal says that Stripe does not have it, and there it begins anew.
UPDATE stripe_meter_events
SET fate = 'frozen', tried_at = NULL, settled_at = NULL, reason = ''
WHERE fate = 'parked';

-- name: write_off
UPDATE stripe_meter_events
SET fate = 'written off', settled_at = now(), reason = $2
WHERE fate = 'parked' AND identifier = $1;

-- name: count_events
-- How many there are of each fate, and what they come to.
SELECT event_name, fate, count(*) AS events, sum(amount)::bigint AS amount
FROM stripe_meter_events
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: without_customer
-- What the accounts have used that are nobody's customer yet.
SELECT
    event_name,
    count(DISTINCT account_id) AS accounts,
    sum(amount) AS amount
FROM stripe_metered
JOIN accounts ON accounts.id = account_id AND stripe_customer IS NULL
WHERE hour >= $1 AND hour < $2 AND amount <> 0
GROUP BY 1
ORDER BY 1;
