"""Names as subject tokens.

A NATS subject is a list of tokens between dots, with ``*`` and ``>`` as wildcards.
A model called ``SmolLM2-1.7B`` must be one token, and one called ``>`` must not
subscribe to everything, so every name that enters a subject is encoded here.
"""

from functools import lru_cache
from urllib.parse import quote, unquote

__all__ = ["name", "token"]


@lru_cache(maxsize=10_000)
def token(name: str) -> str:
    """Encode a name into one subject token, reversibly.

    Letters, digits, ``-``, ``_`` and ``~`` stay; every other byte becomes ``%XX``.

    Raises:
        ValueError: the name is empty, and NATS has no empty token.
    """
    if not name:
        message = "an empty name cannot be part of a subject"
        raise ValueError(message)
    return quote(name, safe="").replace(".", "%2E")


def name(token: str) -> str:
    """The name that `token` encodes."""
    return unquote(token, errors="strict")
