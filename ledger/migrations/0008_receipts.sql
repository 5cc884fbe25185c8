-- By which plan and at which prices a request was admitted.
SET LOCAL lock_timeout = '3s';

ALTER TABLE usage_events ADD COLUMN IF NOT EXISTS plan text NOT NULL DEFAULT '';
ALTER TABLE usage_events ADD COLUMN IF NOT EXISTS rates text NOT NULL DEFAULT '{}';
