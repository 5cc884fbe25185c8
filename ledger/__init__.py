"""PostgreSQL: the schema, its migrations, and one query module per table."""
