"""Webhook endpoints, as objects."""

from tests.stripe.account import Account
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, page
from tests.stripe.params import boolean, many, metadata, required, text
from tests.stripe.routes import Json, route

KIND = "webhook_endpoint"


@route(
    "POST",
    "/v1/webhook_endpoints",
    "url",
    "enabled_events",
    "description",
    "metadata",
    "api_version",
)
def create(account: Account, params: Params) -> Json:
    """Its secret is told this once."""
    return {**add(account, required(params, "url"), types=many(params, "enabled_events"))}


@route("GET", "/v1/webhook_endpoints", *PAGE)
def list_all(account: Account, params: Params) -> Json:
    found = [_public(one) for one in account.newest(KIND)]
    return page(found, params, "/v1/webhook_endpoints")


@route("GET", "/v1/webhook_endpoints/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return _public(account.find(KIND, id_))


@route("POST", "/v1/webhook_endpoints/{id_}", "url", "enabled_events", "disabled", "metadata")
def update(account: Account, params: Params, id_: str) -> Json:
    found = account.find(KIND, id_)
    if "url" in params:
        found["url"] = text(params, "url")
    if "enabled_events" in params:
        found["enabled_events"] = many(params, "enabled_events")
    if "disabled" in params:
        found["status"] = "disabled" if boolean(params, "disabled") else "enabled"
    found["metadata"] = metadata(params, found["metadata"])
    return _public(found)


@route("DELETE", "/v1/webhook_endpoints/{id_}")
def delete(account: Account, params: Params, id_: str) -> Json:
    account.find(KIND, id_)
    del account.objects[KIND][id_]
    return {"id": id_, "object": KIND, "deleted": True}


def add(
    account: Account, url: str, *, secret: str | None = None, types: list[str] | None = None
) -> Json:
    """Tell a URL of events, of all types where none is named."""
    return account.add(
        KIND,
        {
            "id": account.mint("we"),
            "object": KIND,
            "api_version": None,
            "created": account.clock.now(),
            "description": None,
            "enabled_events": types or ["*"],
            "livemode": False,
            "metadata": {},
            "secret": secret or account.mint("whsec"),
            "status": "enabled",
            "url": url,
        },
    )


def _public(endpoint: Json) -> Json:
    return {name: value for name, value in endpoint.items() if name != "secret"}
