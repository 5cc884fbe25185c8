"""Runs what the documentation tells its readers to paste."""
