"""Plans: what an account may use, how much of it, and at which price.

They are declared in one file that people write (`deploy/plans.toml` shows the form).
The edge admits by it, and the consumers true its counters up.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from events.errors import BadPlansFile
from events.meters import Meter, Meters
from events.units import Unit
from events.usage import Quantities
from events.windows import Window

DEFAULT: Final = "default"  # the plan of an account that was given no other

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

NANOS: Final = 10**9  # amounts of money are integers: billionths of the currency's unit
PER: Final = 10**6  # prices are for a million of something
MOST: Final = 2**62


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` of a unit in each window."""

    name: Name
    unit: Unit
    limit: int | str  # money is written as a string: "12.50"
    window: Window
    per: Literal["account", "key"] = "account"
    only: tuple[str, ...] = ()  # models or tasks; none: all of them
    shadow: bool = False  # decides and counts, and refuses nobody

    def __post_init__(self) -> None:
        self.most()

    def most(self, override: int | str | None = None) -> int:
        """The limit as an integer: of billionths, where it is money.

        Raises:
            ValueError: it is negative, absurd or no number.
        """
        limit = self.limit if override is None else override
        if self.unit == "cost":
            return money(limit)
        if not isinstance(limit, int) or not 0 <= limit <= MOST:
            raise ValueError(f"a limit of {self.unit} is a whole number from 0 to 2**62")
        return limit

    def covers(self, model: str, task: str) -> bool:
        """Whether a request for this task of this model counts."""
        return not self.only or model in self.only or task in self.only


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a group of accounts has in common."""

    name: Name
    description: str = ""
    policy: tuple[Policy, ...] = ()
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] | None = None  # requests at once
    models: tuple[str, ...] | None = None  # those allowed; none named: all
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0  # higher goes first, three times in four
    #: Of asynchronous requests; the same as `priority` where there is none.
    job_priority: Annotated[int, Meta(ge=-100, le=100)] | None = None
    lookup_keys: tuple[str, ...] = ()  # of Stripe's prices and features: who has one has this plan
    grace_days: Annotated[int, Meta(ge=0, le=365)] = 7  # it stays when a payment is past due
    prices: dict[Unit, str] = {}  # for a million of each
    billed: tuple[Unit, ...] | None = None  # which of them are charged; none named: all
    monthly_budget: str | None = None  # nothing is answered beyond it
    prepaid: bool = False  # nothing is answered without credit
    #: What of a stream is billed whose caller left: what was sent, or generated, or nothing.
    disconnected: Literal["delivered", "generated", "free"] = "delivered"

    def __post_init__(self) -> None:
        names = [policy.name for policy in self.policy]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"policy {name!r} is there twice")
        for unit, price in self.prices.items():
            if unit == "cost":
                raise ValueError("a price of `cost` means nothing: name a quantity")
            if money(price) % PER:
                raise ValueError(f"the price of {unit} has more than nine decimals for each one")
        for unit in self.billed or ():
            if unit not in self.prices:
                raise ValueError(f"{unit} is billed and has no price")
        if self.monthly_budget is not None:
            money(self.monthly_budget)

    def cost(self, quantities: Quantities) -> int:
        """What a request costs, in billionths of the currency's unit."""
        return sum(rate * getattr(quantities, unit) for unit, rate in self.rates())

    def rates(self) -> Sequence[tuple[Unit, int]]:
        """The units that are charged, each with its price for one, in billionths."""
        units = self.prices if self.billed is None else self.billed
        return [(unit, money(self.prices[unit]) // PER) for unit in units]

    def priority_of_jobs(self) -> int:
        """In which order asynchronous requests run."""
        return self.priority if self.job_priority is None else self.job_priority

    def allows(self, model: str) -> bool:
        """Whether its accounts may use a model."""
        return self.models is None or model in self.models


Plans = Mapping[str, Plan]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    plan: tuple[Plan, ...]
    meter: tuple[Meter, ...] = ()


#: Where no file says otherwise: everybody may do everything, and pays nothing.
UNLIMITED: Final[Plans] = {DEFAULT: Plan(name=DEFAULT)}


def money(amount: int | str) -> int:
    """An amount as people write it, like "12.50", in billionths.

    Raises:
        ValueError: it is negative, absurd, finer than a billionth or no number.
    """
    try:
        nanos = Decimal(amount) * NANOS
    except InvalidOperation:
        raise ValueError(f'{amount!r} is no amount of money; write it as "12.50"') from None
    if not (nanos.is_finite() and 0 <= nanos <= MOST and nanos == int(nanos)):
        raise ValueError(f"{amount!r} is no amount of money from 0 to 4 billion, to nine decimals")
    return int(nanos)


def show_money(nanos: int) -> str:
    """An amount in billionths as people write it, to the cent or finer."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    whole, rest = divmod(nanos, NANOS)
    cents = f"{rest:09}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{cents}"


def read_plans(path: Path) -> Plans:
    """Read the plans file: plans by name.

    Raises:
        BadPlansFile: it is missing, is not TOML, or says something wrong; with the line.
    """
    return {plan.name: plan for plan in _read(path).plan}


def read_meters(path: Path) -> Meters:
    """Read what the same file says of meters. Raises as `read_plans` does."""
    return _read(path).meter


def _read(path: Path) -> _File:
    try:
        text = path.read_text()
        found: Any = tomllib.loads(text)
    except OSError as error:
        raise BadPlansFile(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadPlansFile(path, str(error)) from error
    try:
        file = msgspec.convert(found, _File)
    except msgspec.ValidationError as error:
        raise BadPlansFile(path, str(error), line=_line(text, str(error))) from error
    _check_names(path, text, file)
    if DEFAULT not in {plan.name for plan in file.plan}:
        raise BadPlansFile(path, f"there must be a plan called {DEFAULT!r}")
    return file


def _check_names(path: Path, text: str, file: _File) -> None:
    """See that each name, and each lookup key, is one plan's or one meter's."""
    named = (
        ("plan", "name", [plan.name for plan in file.plan]),
        ("meter", "event_name", [meter.event_name for meter in file.meter]),
    )
    for table, field, names in named:
        for number, name in enumerate(names):
            if name in names[:number]:
                line = _line(text, f"`$.{table}[{number}].{field}`")
                raise BadPlansFile(path, f"{table} {name!r} is there twice", line=line)
    owners: dict[str, str] = {}
    for number, plan in enumerate(file.plan):
        for key in plan.lookup_keys:
            if owners.setdefault(key, plan.name) != plan.name:
                line = _line(text, f"`$.plan[{number}].lookup_keys`")
                message = f"lookup key {key!r} is plan {owners[key]!r}'s already"
                raise BadPlansFile(path, message, line=line)


def _line(text: str, message: str) -> int | None:
    """The line that a message of msgspec's is about; it names a path like `$.plan[1].name`."""
    found = re.search(r"`\$((?:\.\w+|\[\d+\]|\[\.\.\.\])*)`", message)
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", found[1]) if found else []
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        steps.append((unknown[1], ""))
    lines = text.splitlines()
    at, headers, fields = 0, "", list[str]()
    for name, index in steps:
        if index:  # the index-th table of this name from here on
            header = re.compile(rf"\s*\[\[\s*{re.escape(headers)}\s*\]\]")
            starts = [number for number in range(at, len(lines)) if header.match(lines[number])]
            if int(index) < len(starts):
                at = starts[int(index)]
                fields.clear()
        else:
            headers = f"{headers}.{name}" if headers else name
            fields.append(name)
    for name in fields:
        key = re.compile(rf"\s*(\[+[\w.\s]*\b)?[\"']?{re.escape(name)}[\"']?\s*[=\]]")
        at = next((number for number in range(at, len(lines)) if key.match(lines[number])), at)
    return at + 1 if steps else None
