-- The schema of today, to be read. The migrations make it; a test compares the two.

-- Who is billed.
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    plan text NOT NULL DEFAULT 'default',  -- the operator's choice
    limits jsonb NOT NULL DEFAULT '{}',  -- by a policy's name, instead of the plan's
    concurrency integer,  -- instead of the plan's
    monthly_budget bigint,  -- the operator's, instead of the plan's; all money in billionths
    own_budget bigint,  -- the customer's; the lower of the two counts
    version bigint NOT NULL DEFAULT 0,  -- of what is announced; also its keys' and its credit's
    stripe_customer text UNIQUE,  -- the id of the customer that it is at Stripe
    stripe_attempts bigint NOT NULL DEFAULT 0,  -- changes that Stripe has made or refused: a part
    -- of their idempotency keys, so that a repeat is the same one and what comes later is not
    stripe_plan text,  -- what its subscription gives; holds instead of `plan`
    stripe_plan_until timestamptz  -- when to derive that again, though Stripe says nothing
);
CREATE INDEX accounts_stripe_plan_until_idx ON accounts (stripe_plan_until)
WHERE stripe_plan_until IS NOT NULL;

-- What was agreed with an account, each time that it changed; a row is never changed.
CREATE TABLE plan_changes (
    account_id uuid NOT NULL REFERENCES accounts,
    version bigint NOT NULL,  -- the account's
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    plan_before text,
    plan text NOT NULL,  -- which one held from then on
    operator_plan text NOT NULL,
    stripe_plan text,
    limits jsonb NOT NULL,
    concurrency integer,
    monthly_budget bigint,
    own_budget bigint,
    why text NOT NULL,  -- an event's id, or who or what else it was
    PRIMARY KEY (account_id, version)
);

-- What the plans file said of each plan, each time that it changed; a row is never changed.
CREATE TABLE plan_versions (
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    terms jsonb,  -- null: it was taken out
    PRIMARY KEY (name, at)
);

-- Accounts that no customer at Stripe was made or found for yet.
CREATE TABLE stripe_customer_jobs (
    account_id uuid PRIMARY KEY REFERENCES accounts,
    due_at timestamptz NOT NULL DEFAULT now(),  -- pushed on by whoever takes it, as a lease
    attempts integer NOT NULL DEFAULT 0,
    error text  -- of the last one
);
CREATE INDEX stripe_customer_jobs_due_at_idx ON stripe_customer_jobs (due_at);

CREATE TABLE api_keys (
    id text PRIMARY KEY,  -- the public part of the key
    account_id uuid NOT NULL REFERENCES accounts,
    hash bytea NOT NULL UNIQUE,  -- HMAC-SHA256 of the key, under the server's secret
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    scope text[] NOT NULL DEFAULT '{}',  -- models or tasks; empty: all
    expires_at timestamptz,
    last_used_at timestamptz  -- to the minute or so: it is written in batches
);
CREATE INDEX api_keys_account_id_idx ON api_keys (account_id);

-- Credit granted and corrected; a row is never changed. What was spent is in usage_totals.
CREATE TABLE credits (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    amount bigint NOT NULL,  -- billionths; negative takes back
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX credits_account_id_idx ON credits (account_id);

-- Which budgets were reached, so that each is told of once; a changed amount is another one.
CREATE TABLE budget_alerts (
    account_id uuid NOT NULL REFERENCES accounts,
    budget text NOT NULL,
    window_start timestamptz NOT NULL,
    amount bigint NOT NULL,
    percent smallint NOT NULL,
    reached_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, budget, window_start, amount, percent)
);

-- Where an account's events are posted.
CREATE TABLE webhooks (
    account_id uuid PRIMARY KEY REFERENCES accounts,
    url text NOT NULL,
    secret text NOT NULL,  -- it signs, so it cannot be a hash
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Passes over Stripe's lists: poll (its events), sweep (its objects, compared) and sync (its
-- objects, taken over). Whoever writes here holds the pass's lock on the same connection.
CREATE TABLE stripe_passes (
    name text PRIMARY KEY,
    due_at timestamptz NOT NULL DEFAULT now(),  -- when the next one may begin
    began_at timestamptz,  -- the last one
    finished_at timestamptz,  -- the last one that came to its end
    failures integer NOT NULL DEFAULT 0,  -- in a row
    error text NOT NULL DEFAULT '',  -- the last failure's; empty after a success
    note text NOT NULL DEFAULT '',  -- what a person should know of a success
    cursor bigint,  -- Unix seconds of Stripe's: all events until then are passed
    newest bigint,  -- what the cursor will be when the listing under way is through
    list text NOT NULL DEFAULT '',  -- which list is under way
    after text NOT NULL DEFAULT '',  -- the last of it that was passed
    passed bigint NOT NULL DEFAULT 0,  -- objects or events, by the last one
    found bigint NOT NULL DEFAULT 0  -- of them the ledger lacked, or had otherwise
);

-- What is to be announced on NATS, written in the transaction that makes it true.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row per usage event. Where TimescaleDB is, a hypertable on started_at with
-- chunks of a day. No foreign keys: an event of an unknown account is still usage,
-- and must not hold up a fold.
CREATE TABLE usage_events (
    started_at timestamptz NOT NULL,  -- the time in request_id, so that a repeat brings it again
    request_id uuid NOT NULL,
    part integer NOT NULL,  -- of a long stream; else 0
    voids boolean NOT NULL,  -- takes back the record with the same id: quantities are negative
    account_id uuid NOT NULL,
    key_id text NOT NULL,
    model text NOT NULL,
    task text NOT NULL,
    status smallint NOT NULL,
    duration_ms bigint NOT NULL,
    epoch uuid NOT NULL,  -- one start of one edge process
    sequence bigint NOT NULL,  -- gap-free within its epoch
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    input_words bigint NOT NULL,
    output_words bigint NOT NULL,
    input_characters bigint NOT NULL,
    output_characters bigint NOT NULL,
    device_ms bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    cost bigint NOT NULL DEFAULT 0,  -- billionths of the currency's unit
    errors bigint NOT NULL DEFAULT 0,  -- requests that were refused or failed; nobody pays for them
    plan text NOT NULL DEFAULT '',  -- by which it was admitted; empty: not known
    rates text NOT NULL DEFAULT '{}',  -- its prices for one of each, in billionths: JSON, not
    -- jsonb, which is twice as long, and nothing looks into it
    translated_characters bigint NOT NULL DEFAULT 0,  -- read by a translator, not by the model
    PRIMARY KEY (request_id, part, voids, started_at)
);
-- An account's minutes, and how long its answers took: the totals know only hours.
CREATE INDEX usage_events_account_id_started_at_idx ON usage_events (account_id, started_at);

-- Sums of usage_events, kept by the statement that inserts them. The key's order
-- serves the one question asked: an account, from one hour to another. The same rows
-- are updated over and over: room in the page keeps that off the index, and text
-- sorted as bytes is sorted fast, and alike under every release of the C library.
CREATE TABLE usage_totals (
    account_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    status smallint NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    input_words bigint NOT NULL,
    output_words bigint NOT NULL,
    input_characters bigint NOT NULL,
    output_characters bigint NOT NULL,
    device_ms bigint NOT NULL,
    cost bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    translated_characters bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, hour, key_id, model, task, status)
) WITH (fillfactor = 70);

-- For charts and for people who write SQL; money is read from usage_totals alone. With
-- TimescaleDB's Community edition these lead to continuous aggregates instead, with the
-- Apache edition the first one says time_bucket: the columns and the answers are the same.
CREATE OR REPLACE VIEW usage_by_minute AS
SELECT
    date_trunc('minute', started_at, 'UTC') AS bucket,
    account_id,
    key_id COLLATE "C" AS key_id,
    model COLLATE "C" AS model,
    task COLLATE "C" AS task,
    status,
    sum(requests)::bigint AS requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(input_words)::bigint AS input_words,
    sum(output_words)::bigint AS output_words,
    sum(input_characters)::bigint AS input_characters,
    sum(output_characters)::bigint AS output_characters,
    sum(device_ms)::bigint AS device_ms,
    sum(cost)::bigint AS cost,
    sum(errors)::bigint AS errors,
    sum(translated_characters)::bigint AS translated_characters
FROM usage_events
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE OR REPLACE VIEW usage_by_hour AS
SELECT
    hour AS bucket,
    account_id,
    key_id,
    model,
    task,
    status,
    requests,
    input_tokens,
    output_tokens,
    input_words,
    output_words,
    input_characters,
    output_characters,
    device_ms,
    cost,
    errors,
    translated_characters
FROM usage_totals;

CREATE OR REPLACE VIEW usage_by_day AS
SELECT
    date_trunc('day', hour, 'UTC') AS bucket,
    account_id,
    key_id,
    model,
    task,
    status,
    sum(requests)::bigint AS requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(input_words)::bigint AS input_words,
    sum(output_words)::bigint AS output_words,
    sum(input_characters)::bigint AS input_characters,
    sum(output_characters)::bigint AS output_characters,
    sum(device_ms)::bigint AS device_ms,
    sum(cost)::bigint AS cost,
    sum(errors)::bigint AS errors,
    sum(translated_characters)::bigint AS translated_characters
FROM usage_totals
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE OR REPLACE VIEW usage_by_month AS
SELECT
    date_trunc('month', hour, 'UTC') AS bucket,
    account_id,
    key_id,
    model,
    task,
    status,
    sum(requests)::bigint AS requests,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(input_words)::bigint AS input_words,
    sum(output_words)::bigint AS output_words,
    sum(input_characters)::bigint AS input_characters,
    sum(output_characters)::bigint AS output_characters,
    sum(device_ms)::bigint AS device_ms,
    sum(cost)::bigint AS cost,
    sum(errors)::bigint AS errors,
    sum(translated_characters)::bigint AS translated_characters
FROM usage_totals
GROUP BY 1, 2, 3, 4, 5, 6;

-- Every event of Stripe's once, as received; append only, which a trigger enforces.
CREATE TABLE stripe_events (
    id text PRIMARY KEY,
    type text NOT NULL,
    created timestamptz NOT NULL,  -- Stripe's time, in whole seconds
    received_at timestamptz NOT NULL,  -- when the stream took it
    payload jsonb NOT NULL
);
-- An object's history, and the events of one second.
CREATE INDEX stripe_events_object_created_idx
    ON stripe_events ((payload #>> '{data,object,id}'), created);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER stripe_events_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON stripe_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every object of Stripe's, as the newest event, or Stripe itself when asked, gave it.
CREATE TABLE stripe_objects (
    id text PRIMARY KEY,
    type text NOT NULL,
    customer text,  -- whose it is; a customer is its own
    stripe_created timestamptz NOT NULL,  -- of the event that set this row; or fetched_at
    received_at timestamptz NOT NULL,  -- likewise
    event_id text,  -- likewise; null where it was fetched
    deleted boolean NOT NULL,  -- for good: deleted, or a subscription that has ended
    object jsonb NOT NULL,  -- of a deleted one the last that was seen
    updated_at timestamptz NOT NULL DEFAULT now(),  -- when something last changed this row
    fetched_at timestamptz,  -- when asking began, if that set this row
    ask_at timestamptz  -- unsettled: Stripe is to be asked, then or later; null: settled
);
CREATE INDEX stripe_objects_customer_type_idx ON stripe_objects (customer, type);
CREATE INDEX stripe_objects_type_ask_at_idx
    ON stripe_objects (type, ask_at) WHERE ask_at IS NOT NULL;
-- All of a type, page by page.
CREATE INDEX stripe_objects_type_id_idx ON stripe_objects (type, id) WHERE NOT deleted;
-- Customers that came before their accounts.
CREATE INDEX stripe_objects_account_idx
ON stripe_objects ((object #>> '{metadata,tollgate_account}'))
WHERE type = 'customer' AND NOT deleted;
-- Invoices as their customers call them.
CREATE INDEX stripe_objects_number_idx ON stripe_objects ((object ->> 'number'))
WHERE type = 'invoice';

-- What the sweep has seen of the list of Stripe's that it is at: what is not here is gone.
CREATE UNLOGGED TABLE stripe_listed (id text PRIMARY KEY);

-- Accounts that are customers at Stripe; of several subscriptions the one that counts: live
-- before ended, then the newest.
CREATE VIEW customers AS
SELECT
    accounts.id AS account_id,
    customer.object AS stripe_customer,
    subscription.object AS stripe_subscription
FROM accounts
LEFT JOIN stripe_objects AS customer ON customer.id = accounts.stripe_customer
LEFT JOIN LATERAL (
    SELECT object
    FROM stripe_objects
    WHERE stripe_objects.customer = accounts.stripe_customer AND type = 'subscription'
    ORDER BY
        deleted,
        object ->> 'status' IN ('canceled', 'incomplete', 'incomplete_expired'),
        object -> 'created' DESC NULLS LAST,
        stripe_objects.id
    LIMIT 1
) AS subscription ON true
WHERE accounts.stripe_customer IS NOT NULL;

-- The meters that Stripe is told of, as they were when it first was: one that means something
-- else needs another name, here as there.
CREATE TABLE stripe_meters (
    event_name text PRIMARY KEY,
    unit text NOT NULL,
    covers text[] NOT NULL,  -- models or tasks; none: all
    since timestamptz NOT NULL,  -- the first hour that counts
    frozen_until timestamptz,  -- all hours before it were looked at, and what was new frozen
    frozen_at timestamptz  -- when that was
);

-- What there is of each meter by now, whoever's customer the account is.
CREATE VIEW stripe_metered AS
SELECT
    event_name,
    account_id,
    hour,
    sum(CASE unit
        WHEN 'requests' THEN requests
        WHEN 'input_tokens' THEN input_tokens
        WHEN 'output_tokens' THEN output_tokens
        WHEN 'input_words' THEN input_words
        WHEN 'output_words' THEN output_words
        WHEN 'input_characters' THEN input_characters
        WHEN 'output_characters' THEN output_characters
        WHEN 'translated_characters' THEN translated_characters
        WHEN 'device_ms' THEN device_ms
        WHEN 'cost' THEN cost
    END) AS amount
FROM stripe_meters
JOIN usage_totals
    ON hour >= since AND (covers = '{}' OR model = ANY (covers) OR task = ANY (covers))
GROUP BY 1, 2, 3;

-- What Stripe is told, written down before it is and never changed: of one hour of one account
-- the first time all that is known, and then what came after.
CREATE TABLE stripe_meter_events (
    event_name text NOT NULL REFERENCES stripe_meters,
    hour timestamptz NOT NULL,
    account_id uuid NOT NULL,
    number integer NOT NULL,  -- of this hour's, from 1
    customer text NOT NULL,
    amount bigint NOT NULL,  -- negative takes back
    identifier uuid NOT NULL,  -- made of the key, so that the same is never there twice
    frozen_at timestamptz NOT NULL DEFAULT now(),
    tried_at timestamptz,  -- since when Stripe may have it
    fate text NOT NULL DEFAULT 'frozen',
    settled_at timestamptz,  -- when it got its fate
    reason text NOT NULL DEFAULT '',  -- why it is parked or written off
    PRIMARY KEY (event_name, hour, account_id, number),
    CONSTRAINT stripe_meter_events_fate_check
        CHECK (fate IN ('frozen', 'sent', 'parked', 'written off'))
);
CREATE INDEX stripe_meter_events_open_idx
    ON stripe_meter_events (fate, hour) WHERE fate IN ('frozen', 'parked');
-- What a customer's meters were told, for Stripe's sums and invoices of it.
CREATE INDEX stripe_meter_events_customer_idx
    ON stripe_meter_events (customer, event_name, hour);

-- How far a restore is, which may be killed: what of an export is what at the new account.
CREATE TABLE stripe_restored (
    export_id uuid NOT NULL,
    old_id text NOT NULL,
    new_id text NOT NULL,
    PRIMARY KEY (export_id, old_id)
);

-- What one account may see, for the role tollgate_tenant, whose queries run with the setting
-- tollgate.account_id (ledger/tenants.py).
CREATE SCHEMA tenant;

CREATE VIEW tenant.usage_events WITH (security_barrier) AS
SELECT * FROM public.usage_events
WHERE account_id = current_setting('tollgate.account_id')::uuid;

CREATE VIEW tenant.usage_totals WITH (security_barrier) AS
SELECT * FROM public.usage_totals
WHERE account_id = current_setting('tollgate.account_id')::uuid;

GRANT USAGE ON SCHEMA tenant TO tollgate_tenant;
GRANT SELECT ON ALL TABLES IN SCHEMA tenant TO tollgate_tenant;
