"""Tells customers of their budgets, by webhook."""

from typing import Final

from nats.aio.msg import Msg

from consumers.hooks import Hook, Hooks
from consumers.webhooks import Poster
from events import budgets, streams

KEPT_S: Final = 3 * 86_400.0


def _decode(message: Msg) -> Hook:
    sequence = message.metadata.sequence.stream
    return Hook(
        account_id=budgets.decode(message.data).account_id,
        id=f"budget_{sequence}_{int(message.metadata.timestamp.timestamp())}",
    )


def budget_webhooks(poster: Poster) -> Hooks:
    """What posts them to their accounts' webhooks."""
    return Hooks(
        stream=streams.BUDGETS,
        config=streams.budget_webhooks(),
        decode=_decode,
        kept_s=KEPT_S,
        poster=poster,
    )
