-- Whose customer of Stripe's an account is.
SET LOCAL lock_timeout = '3s';

ALTER TABLE accounts ADD COLUMN IF NOT EXISTS stripe_customer text UNIQUE;
