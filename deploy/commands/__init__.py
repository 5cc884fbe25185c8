"""The subcommands that show and change data."""
