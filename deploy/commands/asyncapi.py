"""`tollgate asyncapi`."""

from deploy.commands.output import print_json
from events.asyncapi import document


def show_asyncapi() -> None:
    """Print the AsyncAPI document of the events that services may subscribe to."""
    print_json(document())
