"""What an account has paid in advance, and what is left of it."""

from litestar.di import NamedDependency
from msgspec import Struct

from edge.admission import Admission
from edge.auth import Caller
from edge.endpoint import API, Application, route
from events.plans import show_money
from ledger.accounts import read_spent
from ledger.db import Pool, acquire


class Balance(Struct, frozen=True, kw_only=True):
    """Amounts as decimal strings, in the currency's unit."""

    credit: str  # all that was granted, less corrections
    spent: str  # what all usage so far has cost
    balance: str  # the one less the other
    prepaid: bool  # whether requests need it


async def get_balance(
    caller: NamedDependency[Caller],
    admission: NamedDependency[Admission],
    pool: NamedDependency[Pool],
) -> Balance:
    """Read it from the ledger, which is a second or so behind the last answer."""
    async with acquire(pool) as connection:
        spent = await read_spent(connection, caller.account.id)
    credit = caller.account.credit
    return Balance(
        credit=show_money(credit),
        spent=show_money(spent),
        balance=show_money(credit - spent),
        prepaid=admission.plan(caller).prepaid,
    )


endpoint = route(
    "GET",
    "/v1/balance",
    get_balance,
    description="The account's credit, what it has spent, and what is left.",
    perspective=Application,
    services={API},
)
