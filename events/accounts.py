"""What edges must know of accounts and their keys, announced on every change.

The stream keeps the last word on each account and each key, so that an edge that was
away catches up. A message says everything about its subject: whoever has it needs no
other, and of two the one with the higher version is true.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from events.plans import DEFAULT
from events.subjects import token

SUBJECTS: Final = "accounts.>"


class Account(Struct, frozen=True, kw_only=True):
    """Who is billed, and what was agreed with it. Money in billionths."""

    id: UUID
    name: str
    created_at: datetime
    plan: str = DEFAULT
    limits: dict[str, int | str] = {}  # by a policy's name, instead of the plan's
    concurrency: int | None = None  # instead of the plan's
    monthly_budget: int | None = None  # the operator's, instead of the plan's
    own_budget: int | None = None  # the customer's; the lower of the two counts
    credit: int = 0  # all that was ever granted, less corrections; not less what was used
    version: int = 0


class ApiKey(Struct, frozen=True, kw_only=True):
    """What is known about a key; the key itself is not."""

    id: str  # the public part
    account_id: UUID
    name: str
    created_at: datetime
    scope: tuple[str, ...] = ()  # models or tasks that it is good for; none named: all
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute or so


class AccountChanged(Struct, frozen=True, tag_field="type", tag="tollgate.account.changed.v1"):
    """An account, as it is from now on."""

    account: Account

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"accounts.{self.account.id}"


class KeyChanged(Struct, frozen=True, tag_field="type", tag="tollgate.key.changed.v1"):
    """A key, as it is from now on."""

    key: ApiKey
    hash: bytes
    version: int  # its account's, when this was so

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"accounts.{self.key.account_id}.{token(self.key.id)}"


Announcement = AccountChanged | KeyChanged

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Announcement]] = msgspec.json.Decoder(Announcement)


def encode(announcement: Announcement) -> bytes:
    """The announcement as JSON."""
    return _encoder.encode(announcement)


def decode(message: bytes) -> Announcement:
    """Read an announcement.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decoder.decode(message)
