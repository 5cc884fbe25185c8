"""The wire: what Tollgate's processes say to each other, and where they say it."""
