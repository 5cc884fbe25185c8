"""Products."""

from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, page, within
from tests.stripe.params import boolean, metadata, required, text
from tests.stripe.routes import Json, route

TEXTS = ("name", "description", "unit_label", "statement_descriptor", "tax_code")


@route("POST", "/v1/products", *TEXTS, "id", "active", "metadata")
def create(account: Account, params: Params) -> Json:
    required(params, "name")
    id_ = text(params, "id") or account.mint("prod")
    if id_ in account.by_id:
        raise Refused(f"Product already exists: {id_}", code="resource_already_exists", param="id")
    made: Json = {
        "id": id_,
        "object": "product",
        "active": boolean(params, "active", default=True),
        "created": account.clock.now(),
        "default_price": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": metadata(params),
        "package_dimensions": None,
        "shippable": None,
        "type": "service",
        "updated": account.clock.now(),
        "url": None,
        **{field: text(params, field) for field in TEXTS},
    }
    account.add("product", made)
    account.emit("product.created", made)
    return made


@route("GET", "/v1/products", *PAGE, "active", "ids", "created")
def list_all(account: Account, params: Params) -> Json:
    found = within(account.newest("product"), params)
    if "active" in params:
        found = (one for one in found if one["active"] == boolean(params, "active"))
    if "ids" in params:
        found = (one for one in found if one["id"] in params["ids"])
    return page(found, params, "/v1/products")


@route("GET", "/v1/products/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find("product", id_)


@route("POST", "/v1/products/{id_}", *TEXTS, "active", "metadata", "default_price")
def update(account: Account, params: Params, id_: str) -> Json:
    found = account.find("product", id_)
    changes: Json = {field: text(params, field) for field in TEXTS if field in params}
    if "active" in params:
        changes["active"] = boolean(params, "active")
    if "metadata" in params:
        changes["metadata"] = metadata(params, found["metadata"])
    if "default_price" in params:
        price = account.find("price", params["default_price"], param="default_price")
        changes["default_price"] = price["id"]
    with account.changing(found, "product.updated"):
        found.update(changes, updated=account.clock.now())
    return found


@route("DELETE", "/v1/products/{id_}")
def delete(account: Account, params: Params, id_: str) -> Json:
    account.find("product", id_)
    if any(price["product"] == id_ for price in account.newest("price")):
        raise Refused("This product cannot be deleted because it has one or more prices.")
    return account.remove("product", id_)
