"""Features, the products that have them, and who is entitled to them."""

import copy

from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, listed, page
from tests.stripe.params import boolean, metadata, required
from tests.stripe.routes import Json, route

ENTITLING = frozenset({"active", "trialing", "past_due"})
IN_SUMMARY = 10  # more are on pages
FEATURE = "entitlements.feature"
ACTIVE = "entitlements.active_entitlement"


@route("POST", "/v1/entitlements/features", "name", "lookup_key", "metadata")
def create_feature(account: Account, params: Params) -> Json:
    key = required(params, "lookup_key")
    if any(one["lookup_key"] == key and one["active"] for one in account.newest(FEATURE)):
        raise Refused("A feature already uses this lookup key.", param="lookup_key")
    return account.add(
        FEATURE,
        {
            "id": account.mint("feat"),
            "object": FEATURE,
            "active": True,
            "livemode": False,
            "lookup_key": key,
            "metadata": metadata(params),
            "name": required(params, "name"),
        },
    )


@route("GET", "/v1/entitlements/features", *PAGE, "lookup_key", "archived")
def list_features(account: Account, params: Params) -> Json:
    active = not boolean(params, "archived")
    found = [one for one in account.newest(FEATURE) if one["active"] == active]
    if "lookup_key" in params:
        found = [one for one in found if one["lookup_key"] == params["lookup_key"]]
    return page(found, params, "/v1/entitlements/features")


@route("GET", "/v1/entitlements/features/{id_}")
def retrieve_feature(account: Account, params: Params, id_: str) -> Json:
    return account.find(FEATURE, id_)


@route("POST", "/v1/products/{product}/features", "entitlement_feature")
def attach(account: Account, params: Params, product: str) -> Json:
    account.find("product", product)
    feature = account.find(
        FEATURE, required(params, "entitlement_feature"), param="entitlement_feature"
    )
    attached = account.product_features.setdefault(product, {})
    if any(one["entitlement_feature"]["id"] == feature["id"] for one in attached.values()):
        raise Refused("This feature is already attached to this product.")
    made: Json = {
        "id": account.mint("prodft"),
        "object": "product_feature",
        "entitlement_feature": copy.deepcopy(feature),
        "livemode": False,
    }
    attached[made["id"]] = made
    _follow_all(account)
    return made


@route("GET", "/v1/products/{product}/features", *PAGE)
def list_attached(account: Account, params: Params, product: str) -> Json:
    account.find("product", product)
    attached = account.product_features.get(product, {})
    return page(list(attached.values())[::-1], params, f"/v1/products/{product}/features")


@route("DELETE", "/v1/products/{product}/features/{id_}")
def detach(account: Account, params: Params, product: str, id_: str) -> Json:
    if account.product_features.get(product, {}).pop(id_, None) is None:
        raise Refused(f"No such product feature: '{id_}'", status=404, code="resource_missing")
    _follow_all(account)
    return {"id": id_, "object": "product_feature", "deleted": True}


@route("GET", "/v1/entitlements/active_entitlements", *PAGE, "customer")
def list_active(account: Account, params: Params) -> Json:
    customer = account.find("customer", required(params, "customer"), param="customer")["id"]
    found = list(account.entitled.get(customer, {}).values())[::-1]
    return page(found, params, f"/v1/customer/{customer}/entitlements")


@route("GET", "/v1/entitlements/active_entitlements/{id_}")
def retrieve_active(account: Account, params: Params, id_: str) -> Json:
    return account.find(ACTIVE, id_)


def follow(account: Account, customer: str) -> None:
    """Entitle a customer to what their subscriptions now say, and tell where that changed."""
    features: dict[str, Json] = {}
    for subscription in account.objects.get("subscription", {}).values():
        if subscription["customer"] == customer and subscription["status"] in ENTITLING:
            for item in subscription["items"]["data"]:
                product: str = item["price"]["product"]
                for one in account.product_features.get(product, {}).values():
                    features[one["entitlement_feature"]["id"]] = one["entitlement_feature"]
    entitled = account.entitled.setdefault(customer, {})
    if features.keys() == entitled.keys():
        return
    for gone in entitled.keys() - features.keys():
        del account.objects[ACTIVE][entitled.pop(gone)["id"]]
    for new in [id_ for id_ in features if id_ not in entitled]:
        made = {
            "id": account.mint("ent"),
            "object": ACTIVE,
            "feature": new,
            "livemode": False,
            "lookup_key": features[new]["lookup_key"],
        }
        entitled[new] = account.add(ACTIVE, made)
    newest = list(entitled.values())[::-1]
    url = f"/v1/customer/{customer}/entitlements"
    summary = {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": listed(newest[:IN_SUMMARY], url, has_more=len(newest) > IN_SUMMARY),
        "livemode": False,
    }
    account.emit("entitlements.active_entitlement_summary.updated", summary, {})


def _follow_all(account: Account) -> None:
    for customer in list(account.objects.get("customer", {})):
        follow(account, customer)
