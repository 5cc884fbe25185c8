"""Invoices of Stripe's, line by line, next to what we know of the same period.

An hour of usage is told to Stripe as of its last second, so it belongs to the period that
has that second: here as there.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.errors import NoSuchInvoice, StripeRefused
from ledger.reports import QUANTITIES
from ledger.stripe.api import Json, StripeApi, read
from ledger.stripe.meters import KEPT
from ledger.stripe.objects import asking_at, find_object, store_objects
from ledger.stripe.standing import Seconds

_SQL = _sql.load("invoices.sql")


class _Period(Struct, frozen=True):
    start: Seconds
    end: Seconds

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        return datetime.fromtimestamp(self.start, UTC), datetime.fromtimestamp(self.end, UTC)


class _PriceDetails(Struct, frozen=True):
    price: str | None = None


class _Pricing(Struct, frozen=True):
    price_details: _PriceDetails | None = None


class _Line(Struct, frozen=True, kw_only=True):
    period: _Period
    amount: int
    quantity: int | None = None
    description: str | None = None
    price: str | Json | None = None
    pricing: _Pricing | None = None


class _Lines(Struct, frozen=True):
    data: tuple[_Line, ...]
    has_more: bool = False


class _Expanded(Struct, frozen=True):
    id: str


class _Invoice(Struct, frozen=True, kw_only=True):
    id: str
    currency: str
    total: int
    lines: _Lines
    number: str | None = None
    status: str | None = None
    customer: str | _Expanded | None = None


class _Recurring(Struct, frozen=True):
    meter: str | None = None


class _Price(Struct, frozen=True):
    id: str
    lookup_key: str | None = None
    recurring: _Recurring | None = None


class _Meter(Struct, frozen=True):
    event_name: str


class Line(Struct, frozen=True, kw_only=True):
    """One line, and what we say to it."""

    description: str
    price: str | None  # the lookup key, or else Stripe's id
    period_start: datetime
    period_end: datetime
    quantity: int | None
    amount: int  # in the currency's minor unit
    meter: str | None  # the event name; none: a fixed price, of which we count nothing
    told: int | None  # what Stripe was told for this meter and period, all lines of it together
    used: int | None  # what the totals say, likewise
    difference: str  # in words; empty: there is none


class Used(Struct, frozen=True, kw_only=True):
    """All that an account used in one of the invoice's periods."""

    period_start: datetime
    period_end: datetime
    quantities: dict[str, int]  # cost in billionths, by the prices of the plan of each request


class Explained(Struct, frozen=True, kw_only=True):
    """An invoice."""

    id: str
    number: str | None
    status: str | None
    customer: str | None
    account_id: UUID | None  # none: the customer is no account of ours
    account: str | None
    currency: str
    total: int  # in the currency's minor unit
    lines: Sequence[Line]
    complete: bool  # false: Stripe has more lines, and could not be asked
    used: Sequence[Used]

    @property
    def agrees(self) -> bool:
        """Whether no line differs."""
        return not any(line.difference for line in self.lines)


async def explain_invoice(
    connection: Connection, invoice: str, stripe: StripeApi | None
) -> Explained:
    """Read an invoice, and compare.

    Args:
        connection: The ledger's.
        invoice: Stripe's id of it, or its number.
        stripe: Asked for what the ledger has not; None: then it is not there.

    Raises:
        NoSuchInvoice: neither the ledger nor Stripe has it.
        StripeUnavailable, StripeKeyRefused: Stripe had to be asked, and was not to be.
        UnreadableObject: it has another form than an invoice.
    """
    return await _Explanation(connection, stripe).explain(invoice)


class _Explanation:
    def __init__(self, connection: Connection, stripe: StripeApi | None) -> None:
        self._connection = connection
        self._stripe = stripe

    async def explain(self, name: str) -> Explained:
        invoice = read(await self._invoice(name), _Invoice)
        customer = _id(invoice.customer)
        account = await self._connection.fetchrow(_SQL["find_account_of"], customer)
        account_id: UUID | None = account["id"] if account else None
        lines, complete = await self._lines(invoice)
        return Explained(
            id=invoice.id,
            number=invoice.number,
            status=invoice.status,
            customer=customer,
            account_id=account_id,
            account=account["name"] if account else None,
            currency=invoice.currency,
            total=invoice.total,
            lines=await self._compare(lines, account_id, customer),
            complete=complete,
            used=await self._used(lines, account_id),
        )

    async def _invoice(self, name: str) -> Json:
        kept: str | None = await self._connection.fetchval(_SQL["find_invoice"], name)
        if kept is not None:
            invoice: Json = msgspec.json.decode(kept)
            return invoice
        asked = await self._ask(f"/v1/invoices/{name}") if name.startswith("in_") else None
        if asked is None:
            raise NoSuchInvoice(name, asked=self._stripe is not None)
        return asked

    async def _lines(self, invoice: _Invoice) -> tuple[Sequence[_Line], bool]:
        """All lines: an invoice carries the first ten."""
        if not invoice.lines.has_more:
            return invoice.lines.data, True
        if self._stripe is None:
            return invoice.lines.data, False
        path = f"/v1/invoices/{invoice.id}/lines"
        return [read(line, _Line) async for line in self._stripe.pages(path)], True

    async def _compare(
        self, lines: Sequence[_Line], account_id: UUID | None, customer: str | None
    ) -> Sequence[Line]:
        metered = [await self._meter(line) for line in lines]
        counted = Counter[tuple[str | None, _Period]]()  # a meter with tiers has several lines
        for line, (_, meter) in zip(lines, metered, strict=True):
            counted[meter, line.period] += line.quantity or 0
        found = []
        for line, (price, meter) in zip(lines, metered, strict=True):
            start, end = line.period.bounds
            told = used = None
            kept = start >= datetime.now(UTC) - KEPT
            if meter is not None and account_id is not None and kept:
                row = await self._connection.fetchrow(
                    _SQL["metered"], meter, account_id, start, end, customer
                )
                assert row is not None
                told, used = row["told"], row["used"]
            found.append(
                Line(
                    description=line.description or "",
                    price=price,
                    period_start=start,
                    period_end=end,
                    quantity=line.quantity,
                    amount=line.amount,
                    meter=meter,
                    told=told,
                    used=used,
                    difference=_difference(counted[meter, line.period], told, used),
                )
            )
        return found

    async def _meter(self, line: _Line) -> tuple[str | None, str | None]:
        """The price of a line, by its lookup key, and its meter, by its event name."""
        # Stripe's version 2025-03-31 put the price's id where the price was
        details = line.pricing and line.pricing.price_details
        priced = line.price or (details and details.price)
        if isinstance(priced, str):
            priced = await self._object(priced, f"/v1/prices/{priced}") or {"id": priced}
        if not priced:
            return None, None
        price = read(priced, _Price)
        name = price.lookup_key or price.id
        meter_id = price.recurring and price.recurring.meter
        if not meter_id:
            return name, None
        meter = await self._object(meter_id, f"/v1/billing/meters/{meter_id}")
        return name, read(meter, _Meter).event_name if meter else None

    async def _used(self, lines: Sequence[_Line], account_id: UUID | None) -> Sequence[Used]:
        if account_id is None:
            return []
        found = []
        for start, end in sorted({line.period.bounds for line in lines}):
            row = await self._connection.fetchrow(_SQL["used_within"], account_id, start, end)
            assert row is not None
            quantities = {name: row[name] for name in QUANTITIES if row[name]}
            found.append(Used(period_start=start, period_end=end, quantities=quantities))
        return found

    async def _object(self, object_id: str, path: str) -> Json | None:
        kept = await find_object(self._connection, object_id)
        if kept is not None:
            known: Json = msgspec.json.decode(kept.object)
            return known
        return await self._ask(path)

    async def _ask(self, path: str) -> Json | None:
        """What Stripe has, which is then the ledger's, too."""
        if self._stripe is None:
            return None
        asked_at = await asking_at(self._connection)
        try:
            answer = await self._stripe.get(path)
        except StripeRefused as error:
            if error.status != 404:  # noqa: PLR2004 - it is not there
                raise
            return None
        async with self._connection.transaction():
            await store_objects(self._connection, [answer], fetched_at=asked_at)
        return answer


def _difference(counted: int, told: int | None, used: int | None) -> str:
    if told is None or used is None:
        return ""
    found = []
    if counted != told:
        found.append(f"Stripe bills {_more(counted - told)} than it was told")
    if told != used:
        found.append(f"it was told {_more(told - used)} than was used")
    return ", ".join(found)


def _more(number: int) -> str:
    return f"{abs(number):,} {'more' if number > 0 else 'less'}"


def _id(value: str | _Expanded | None) -> str | None:
    """Of what may be expanded."""
    return value.id if isinstance(value, _Expanded) else value
