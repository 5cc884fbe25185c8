"""The edge: authenticates, admits, asks, meters, answers."""
