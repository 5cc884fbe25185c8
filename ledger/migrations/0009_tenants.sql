-- What one account may see of usage, behind a wall that queries cannot forget.
SET LOCAL lock_timeout = '3s';

-- Roles are the server's: another database of it may have made this one. Who may not make
-- roles has somebody else do so first; see docs/storage.md.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tollgate_tenant') THEN
        CREATE ROLE tollgate_tenant NOLOGIN;
        EXECUTE format('GRANT tollgate_tenant TO %I', current_user);
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- made meanwhile, by another database's migration
END
$$;

CREATE SCHEMA IF NOT EXISTS tenant;

CREATE OR REPLACE VIEW tenant.usage_events WITH (security_barrier) AS
SELECT * FROM public.usage_events
WHERE account_id = current_setting('tollgate.account_id')::uuid;

CREATE OR REPLACE VIEW tenant.usage_totals WITH (security_barrier) AS
SELECT * FROM public.usage_totals
WHERE account_id = current_setting('tollgate.account_id')::uuid;

GRANT USAGE ON SCHEMA tenant TO tollgate_tenant;
GRANT SELECT ON ALL TABLES IN SCHEMA tenant TO tollgate_tenant;
