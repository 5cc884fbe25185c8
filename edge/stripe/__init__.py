"""Stripe's side: its webhooks are taken, and callers change what they subscribe to."""
