"""A stand-in of Stripe: stateful, over HTTP, with failures and deliveries under control."""
