"""Budgets that are nearly, or wholly, spent."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

SUBJECTS: Final = "budgets.>"
NEARLY: Final = 80  # percent of a budget that is spent
WHOLLY: Final = 100  # or so nearly that a request was refused for it


class BudgetReached(Struct, frozen=True, kw_only=True, tag_field="type", tag="budget.reached"):
    """So much of a budget is spent; stated once for each budget, limit and window."""

    account_id: UUID
    budget: str  # monthly_budget or credit
    percent: int
    spent: int  # billionths of the currency's unit
    limit: int
    window_start: datetime
    timestamp: datetime

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"budgets.{self.account_id}"


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(BudgetReached)


def encode(event: BudgetReached) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode(message: bytes) -> BudgetReached:
    """Read an event.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decoder.decode(message)
