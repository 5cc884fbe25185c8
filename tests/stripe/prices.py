"""Prices, which are found by their lookup keys."""

from decimal import Decimal, InvalidOperation

from tests.stripe.account import Account
from tests.stripe.errors import Refused, missing
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, having, page, within
from tests.stripe.params import boolean, integer, many, mapping, metadata, one_of, required, text
from tests.stripe.routes import Json, route

INTERVALS = ("day", "week", "month", "year")


@route(
    "POST",
    "/v1/prices",
    "currency",
    "product",
    "unit_amount",
    "unit_amount_decimal",
    "recurring",
    "lookup_key",
    "transfer_lookup_key",
    "nickname",
    "active",
    "metadata",
    "billing_scheme",
    "tax_behavior",
)
def create(account: Account, params: Params) -> Json:
    currency = required(params, "currency")
    product = account.find("product", required(params, "product"), param="product")
    amount = _amount(params)
    lookup_key = text(params, "lookup_key")
    recurring = _recurring(account, mapping(params, "recurring"))
    _take_key(account, lookup_key, transfer=boolean(params, "transfer_lookup_key"))
    made = {
        "id": account.mint("price"),
        "object": "price",
        "active": boolean(params, "active", default=True),
        "billing_scheme": "per_unit",
        "created": account.clock.now(),
        "currency": currency.lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": lookup_key,
        "metadata": metadata(params),
        "nickname": text(params, "nickname"),
        "product": product["id"],
        "recurring": recurring,
        "tax_behavior": text(params, "tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": int(amount) if amount == int(amount) else None,
        "unit_amount_decimal": str(amount),
    }
    account.add("price", made)
    account.emit("price.created", made)
    return made


@route(
    "GET", "/v1/prices", *PAGE, "active", "product", "currency", "lookup_keys", "type", "created"
)
def list_all(account: Account, params: Params) -> Json:
    found = within(account.newest("price"), params)
    found = having(found, params, "product", "currency", "type")
    if "active" in params:
        found = [one for one in found if one["active"] == boolean(params, "active")]
    if "lookup_keys" in params:
        keys = many(params, "lookup_keys")
        if len(keys) > 10:
            raise Refused("You can pass at most 10 lookup_keys.", param="lookup_keys")
        found = [one for one in found if one["lookup_key"] in keys]
    return page(found, params, "/v1/prices")


@route("GET", "/v1/prices/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find("price", id_)


@route(
    "POST",
    "/v1/prices/{id_}",
    "active",
    "lookup_key",
    "transfer_lookup_key",
    "nickname",
    "metadata",
)
def update(account: Account, params: Params, id_: str) -> Json:
    found = account.find("price", id_)
    changes: Json = {}
    if "active" in params:
        changes["active"] = boolean(params, "active")
    if "nickname" in params:
        changes["nickname"] = text(params, "nickname")
    if "metadata" in params:
        changes["metadata"] = metadata(params, found["metadata"])
    if "lookup_key" in params:
        changes["lookup_key"] = text(params, "lookup_key")
        if changes["lookup_key"] != found["lookup_key"]:
            transfer = boolean(params, "transfer_lookup_key")
            _take_key(account, changes["lookup_key"], transfer=transfer)
    with account.changing(found, "price.updated"):
        found.update(changes)
    return found


def _take_key(account: Account, lookup_key: str | None, *, transfer: bool) -> None:
    """A key is one price's; it can be taken from it."""
    for other in list(account.newest("price")):
        if lookup_key is not None and other["lookup_key"] == lookup_key:
            if not transfer:
                raise Refused(
                    f"A price (`{other['id']}`) already uses that lookup key.", param="lookup_key"
                )
            with account.changing(other, "price.updated"):
                other["lookup_key"] = None


def _amount(params: Params) -> Decimal:
    given = params.get("unit_amount", params.get("unit_amount_decimal"))
    if given is None:
        raise missing("unit_amount")
    try:
        return Decimal(given)
    except InvalidOperation:
        raise Refused(f"Invalid decimal: {given}", param="unit_amount_decimal") from None


def _recurring(account: Account, given: Params) -> Json | None:
    if not given:
        return None
    if "meter" in given:
        account.find("billing.meter", given["meter"], param="recurring[meter]")
    return {
        "interval": one_of(given, "interval", INTERVALS, ""),
        "interval_count": integer(given, "interval_count", 1),
        "meter": text(given, "meter"),
        "trial_period_days": None,
        "usage_type": one_of(given, "usage_type", ("licensed", "metered"), "licensed"),
    }
