"""Consumers: they fold usage and Stripe's events from the streams into the ledger."""
