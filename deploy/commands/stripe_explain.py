"""`tollgate stripe explain`."""

from typing import Final

from deploy.commands.output import print_json, show_table
from deploy.commands.servers import ask_perhaps_stripe
from events.plans import show_money
from ledger.stripe.invoices import Explained, Line, explain_invoice

#: Currencies whose minor unit is the currency itself, and those with thousandths.
#: Source: Stripe's documentation of supported currencies.
# fmt: off
WHOLE: Final = frozenset({
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
    "XOF", "XPF",
})
# fmt: on
THOUSANDTHS: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
COLUMNS: Final = ("line", "from", "to", "amount", "billed", "told Stripe", "used", "difference")


def explain(invoice: str, *, as_json: bool) -> bool:
    """Print it; whether nothing differs."""
    found = ask_perhaps_stripe(
        lambda connection, stripe: explain_invoice(connection, invoice, stripe)
    )
    if as_json:
        print_json(found)
    else:
        _print(found)
    return found.agrees


def _print(found: Explained) -> None:
    whose = f"{found.account} ({found.account_id})" if found.account_id else "no account of ours"
    total = as_money(found.total, found.currency)
    print(f"invoice {found.number or found.id}, {found.status}, {total}")
    print(f"customer {found.customer}: {whose}")
    print()
    show_table(COLUMNS, [_cells(found, line) for line in found.lines])
    if not found.complete:
        print("Stripe has more lines: set TOLLGATE_STRIPE_API_KEY to see them all")
    for used in found.used:
        said = ", ".join(
            f"{name} {show_money(amount) if name == 'cost' else f'{amount:,}'}"
            for name, amount in used.quantities.items()
        )
        print(f"\nused {used.period_start:%Y-%m-%d %H:%M} to {used.period_end:%Y-%m-%d %H:%M}:")
        print(f"  {said or 'nothing'}")
    print()
    print("nothing differs" if found.agrees else "there are differences: see docs/billing.md")


def _cells(found: Explained, line: Line) -> list[object]:
    return [
        line.meter or line.price or line.description,
        line.period_start,
        line.period_end,
        as_money(line.amount, found.currency),
        line.quantity,
        line.told,
        line.used,
        line.difference,
    ]


def as_money(minor: int, currency: str) -> str:
    """An amount in Stripe's minor units as people write it."""
    currency = currency.upper()
    decimals = 0 if currency in WHOLE else 3 if currency in THOUSANDTHS else 2
    whole, rest = divmod(abs(minor), 10**decimals)
    fraction = f".{rest:0{decimals}}" if decimals else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{fraction} {currency}"
