"""An invoice's lines next to what was used, and what Stripe was told."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from deploy.commands.stripe_explain import as_money
from events.meters import Meter
from ledger.accounts import create_account
from ledger.db import Connection
from ledger.errors import NoSuchInvoice
from ledger.stripe.answers import take_customer
from ledger.stripe.invoices import explain_invoice
from ledger.stripe.meters import freeze
from ledger.stripe.objects import asking_at, store_objects
from ledger.usage import fold_usage
from tests.stripe.running import standing_in
from tests.usage import a_usage, an_id, recorded

START = datetime(2026, 10, 1, 12, 30, tzinfo=UTC)
END = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
NOW = datetime(2026, 11, 1, 16, tzinfo=UTC)
METER = {"id": "mtr_1", "object": "billing.meter", "event_name": "words"}


def a_price(name: str, meter: str | None = None) -> dict[str, Any]:
    recurring = {"interval": "month", "meter": meter}
    return {"id": f"price_{name}", "object": "price", "lookup_key": name, "recurring": recurring}


def a_line(price: str, quantity: int, start: datetime = START, end: datetime = END) -> Any:
    return {
        "id": f"il_{price}_{quantity}",
        "amount": 100 * quantity,
        "quantity": quantity,
        "description": price,
        "period": {"start": int(start.timestamp()), "end": int(end.timestamp())},
        "pricing": {"price_details": {"price": f"price_{price}"}},
    }


def an_invoice(*lines: Any, has_more: bool = False) -> dict[str, Any]:
    return {
        "id": "in_1",
        "object": "invoice",
        "number": "ADA-0001",
        "status": "open",
        "customer": "cus_1",
        "currency": "usd",
        "total": sum(line["amount"] for line in lines),
        "lines": {"data": list(lines), "has_more": has_more},
    }


async def keep(ledger: Connection, *objects: dict[str, Any]) -> None:
    async with ledger.transaction():
        await store_objects(ledger, objects, fetched_at=await asking_at(ledger))


@pytest.fixture
async def account_id(ledger: Connection) -> UUID:
    """An account that used 30 words: 5 before the period, 20 in it, and 5 after it."""
    account = await create_account(ledger, "Ada")
    customer = {"id": "cus_1", "object": "customer"}
    asked_at = await asking_at(ledger)
    await take_customer(ledger, account.id, "cus_1", [customer], asked_at=asked_at, plans={})
    await keep(ledger, METER, a_price("words", "mtr_1"), a_price("monthly"))
    hours = {START - timedelta(hours=1): 5, START: 8, END - timedelta(hours=1): 12, END: 5}
    for at, words in hours.items():
        fact = a_usage(account.id, request_id=an_id(at), input_words=words)
        await fold_usage(ledger, [recorded(fact)])
    return account.id


async def tell(ledger: Connection) -> None:
    """What the exporter does, as the ledger sees it."""
    await freeze(ledger, Meter(event_name="words", unit="input_words"), NOW)
    await ledger.execute("UPDATE stripe_meter_events SET fate = 'sent'")


async def test_every_line_says_where_its_number_comes_from(
    ledger: Connection, account_id: UUID
) -> None:
    await keep(ledger, an_invoice(a_line("monthly", 1), a_line("words", 20)))
    await tell(ledger)

    found = await explain_invoice(ledger, "in_1", None)

    fixed, words = found.lines
    assert (found.account_id, found.account, found.number) == (account_id, "Ada", "ADA-0001")
    assert (fixed.price, fixed.meter, fixed.told, fixed.used) == ("monthly", None, None, None)
    assert (words.meter, words.quantity, words.told, words.used) == ("words", 20, 20, 20)
    (used,) = found.used
    assert used.quantities["input_words"] == 20
    assert found.agrees
    assert found.complete


@pytest.mark.usefixtures("account_id")
async def test_the_hour_in_which_a_period_ends_belongs_to_the_next(ledger: Connection) -> None:
    later = END + timedelta(days=30)
    await keep(ledger, an_invoice(a_line("words", 5, END, later)))
    await tell(ledger)

    (line,) = (await explain_invoice(ledger, "in_1", None)).lines

    assert (line.told, line.used, line.difference) == (5, 5, "")


async def test_what_differs_is_named(ledger: Connection, account_id: UUID) -> None:
    await keep(ledger, an_invoice(a_line("words", 23)))

    (untold,) = (await explain_invoice(ledger, "ADA-0001", None)).lines
    await ledger.execute("DELETE FROM stripe_meters")
    await tell(ledger)
    found = await explain_invoice(ledger, "ADA-0001", None)

    assert untold.difference == "Stripe bills 23 more than it was told"
    assert [line.difference for line in found.lines] == ["Stripe bills 3 more than it was told"]
    assert not found.agrees
    fact = a_usage(account_id, request_id=an_id(START), input_words=2)
    await fold_usage(ledger, [recorded(fact)])
    (late,) = (await explain_invoice(ledger, "in_1", None)).lines
    assert late.difference.endswith("it was told 2 less than was used")


@pytest.mark.usefixtures("account_id")
async def test_tiers_are_several_lines_of_one_meter(ledger: Connection) -> None:
    await keep(ledger, an_invoice(a_line("words", 15), a_line("words", 5)))
    await tell(ledger)

    assert (await explain_invoice(ledger, "in_1", None)).agrees


async def test_what_the_ledger_has_not_stripe_is_asked_for(ledger: Connection) -> None:
    async with standing_in() as stripe:
        account = stripe.account
        product = account.post("/v1/products", name="API")["id"]
        items = []
        for number in range(12):
            price = account.post(
                "/v1/prices",
                product=product,
                currency="usd",
                unit_amount=100,
                lookup_key=f"price_{number}",
                recurring={"interval": "month"},
            )
            items.append({"price": price["id"]})
        customer = account.post("/v1/customers", name="nobody of ours")["id"]
        made = account.post("/v1/subscriptions", customer=customer, items=items)
        api = stripe.api()
        with pytest.raises(NoSuchInvoice, match="TOLLGATE_STRIPE_API_KEY"):
            await explain_invoice(ledger, made["latest_invoice"], None)
        with pytest.raises(NoSuchInvoice):
            await explain_invoice(ledger, "in_nothing", api)

        found = await explain_invoice(ledger, made["latest_invoice"], api)
        again = await explain_invoice(ledger, made["latest_invoice"], None)
        await api.close()

    assert [line.price for line in found.lines] == [f"price_{number}" for number in range(12)]
    assert (found.account_id, found.total, found.agrees) == (None, 1_200, True)
    assert again.id == found.id  # it is the ledger's from now on


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (123_456, "usd", "1,234.56 USD"),
        (-5, "eur", "-0.05 EUR"),
        (500, "jpy", "500 JPY"),
        (1_500, "kwd", "1.500 KWD"),
    ],
)
def test_amounts_are_said_as_people_write_them(minor: int, currency: str, said: str) -> None:
    assert as_money(minor, currency) == said
