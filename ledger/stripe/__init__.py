"""Stripe, as the ledger keeps it: what was received, what is so now, and how to ask."""
