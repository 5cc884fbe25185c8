"""Customers."""

import re

from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, page, within
from tests.stripe.params import metadata, required, text
from tests.stripe.routes import Json, route
from tests.stripe.subscriptions import OPEN, end

FIELDS = ("email", "name", "description", "phone")


@route("POST", "/v1/customers", *FIELDS, "metadata")
def create(account: Account, params: Params) -> Json:
    id_ = account.mint("cus")
    made: Json = {
        "id": id_,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": account.clock.now(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "discount": None,
        "invoice_prefix": id_[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": metadata(params),
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **{field: text(params, field) for field in FIELDS},
    }
    account.add("customer", made)
    account.emit("customer.created", made)
    return made


@route("GET", "/v1/customers", *PAGE, "email", "created")
def list_all(account: Account, params: Params) -> Json:
    found = within(account.newest("customer"), params)
    if "email" in params:
        found = (one for one in found if one["email"] == params["email"])
    return page(found, params, "/v1/customers")


@route("GET", "/v1/customers/search", "query", "limit", "page")
def search(account: Account, params: Params) -> Json:
    """Those whose metadata say something; Stripe's lags by a minute, and knows more."""
    asked = re.fullmatch(r"metadata\['(\w+)'\]:'([^']*)'", required(params, "query"))
    if asked is None:
        raise Refused("The stand-in searches by one metadata field.", param="query")
    found = (one for one in account.newest("customer") if one["metadata"].get(asked[1]) == asked[2])
    return {
        **page(found, {"limit": params.get("limit", "10")}, "/v1/customers/search"),
        "object": "search_result",
        "next_page": None,
    }


@route("GET", "/v1/customers/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    gone = account.by_id.get(id_, {})
    return gone if gone.get("deleted") else account.find("customer", id_)


@route("POST", "/v1/customers/{id_}", *FIELDS, "metadata")
def update(account: Account, params: Params, id_: str) -> Json:
    found = account.find("customer", id_)
    changes: Json = {field: text(params, field) for field in FIELDS if field in params}
    if "metadata" in params:
        changes["metadata"] = metadata(params, found["metadata"])
    with account.changing(found, "customer.updated"):
        found.update(changes)
    return found


@route("DELETE", "/v1/customers/{id_}")
def delete(account: Account, params: Params, id_: str) -> Json:
    """Their subscriptions end with them."""
    account.find("customer", id_)
    for subscription in list(account.newest("subscription")):
        if subscription["customer"] == id_ and subscription["status"] in OPEN:
            end(account, subscription)
    return account.remove("customer", id_)
