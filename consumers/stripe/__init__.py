"""Stripe's side: events into the ledger, what they missed, and what is told to Stripe."""
