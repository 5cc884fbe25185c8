"""Model workers: tokenize, wait and pack, run, answer."""
