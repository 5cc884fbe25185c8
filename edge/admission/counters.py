"""The counters on JetStream, as an edge uses them."""

from collections.abc import Mapping
from typing import Final

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client

from edge.errors import BrokerAway
from events.direct import Direct

log = structlog.get_logger()

ADD_S: Final = 2.0


class _Ack(Struct):
    val: str | None = None  # a duplicate has none
    duplicate: bool = False


class _Counter(Struct):
    val: str


_ack: Final = msgspec.json.Decoder(_Ack)
_counter: Final = msgspec.json.Decoder(_Counter)


class Counters:
    """Adds to counters, and reads them."""

    def __init__(self, connection: Client, direct: Direct) -> None:
        self._connection = connection
        self._direct = direct
        #: Its ``reconnects`` changes with each of them: the broker may have been killed.
        self.stats = connection.stats

    async def add(self, subject: str, amount: int, *, once: str = "") -> int:
        """Add to a counter, and return its new total.

        Args:
            subject: Which.
            amount: What to add; may be negative.
            once: A name under which it is added once, whoever else adds it: the total
                is then no grant of ours.

        Never sent twice: where the answer is lost, what was added is lost with it.
        That refuses somebody too early, and lets nobody through too many.

        Raises:
            BrokerAway: not known to be added.
        """
        try:
            headers = {"Nats-Incr": f"{amount:+d}"}
            if once:
                headers["Nats-Msg-Id"] = once
            reply = await self._connection.request(subject, b"", timeout=ADD_S, headers=headers)
            ack = _ack.decode(reply.data)
        except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise _away(error) from error
        if ack.duplicate and once:
            return 0
        if ack.val is None:  # an error, of a full stream perhaps
            log.error("counter_refused", subject=subject, reply=reply.data.decode())
            raise _away(None)
        return int(ack.val)

    async def add_later(self, subject: str, amount: int) -> None:
        """Add to a counter without waiting; give back, that is: it may get lost."""
        try:
            await self._connection.publish(subject, b"", headers={"Nats-Incr": f"{amount:+d}"})
        except (nats.errors.Error, OSError) as error:
            log.warning("not_given_back", subject=subject, amount=-amount, error=repr(error))

    async def read(self, stream: str, *filters: str) -> Mapping[str, int]:
        """The totals of counters by subject, as of one moment; none that never counted.

        Raises:
            BrokerAway: they cannot be read.
        """
        try:
            messages = await self._direct.last(stream, *filters)
            return {
                (message.headers or {})["Nats-Subject"]: int(_counter.decode(message.data).val)
                for message in messages
            }
        except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise _away(error) from error

    async def forget(self, stream: str, subject: str) -> None:
        """Have a counter removed that no longer counts; it may get lost."""
        query = msgspec.json.encode({"filter": subject})
        try:
            await self._connection.publish(f"$JS.API.STREAM.PURGE.{stream}", query)
        except (nats.errors.Error, OSError) as error:
            log.warning("not_forgotten", subject=subject, error=repr(error))


def _away(error: Exception | None) -> BrokerAway:
    log.warning("limits_unknown", error=repr(error))
    message = "limits cannot be checked right now; nothing was executed, try again"
    return BrokerAway(message, retry_after_s=1)
