"""Checkout: a page that a customer pays on, and what comes of it."""

from tests.stripe import customers, subscriptions
from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, having, listed, page, within
from tests.stripe.params import boolean, integer, many, mapping, metadata, one_of, required, text
from tests.stripe.routes import Json, route

KIND = "checkout.session"
DAY_S = 86_400


@route(
    "POST",
    "/v1/checkout/sessions",
    "mode",
    "customer",
    "customer_email",
    "client_reference_id",
    "success_url",
    "cancel_url",
    "line_items",
    "metadata",
    "subscription_data",
    "allow_promotion_codes",
    "payment_method_collection",
    "expires_at",
)
def create(account: Account, params: Params) -> Json:
    mode = one_of(params, "mode", ("payment", "setup", "subscription"), "payment")
    if mode != "subscription":
        raise Refused("The stand-in's sessions are for subscriptions.", param="mode")
    if "customer" in params:
        account.find("customer", params["customer"], param="customer")
    id_ = account.mint("cs_test")
    wanted = many(params, "line_items")
    if not wanted:
        raise Refused("`line_items` is required in subscription mode.", param="line_items")
    prices = [account.find("price", required(one, "price"), param="line_items") for one in wanted]
    total = sum(
        (price["unit_amount"] or 0) * int(one.get("quantity", 1))
        for price, one in zip(prices, wanted, strict=True)
    )
    now = account.clock.now()
    made = {
        "id": id_,
        "object": KIND,
        "allow_promotion_codes": boolean(params, "allow_promotion_codes") or None,
        "amount_subtotal": total,
        "amount_total": total,
        "cancel_url": text(params, "cancel_url"),
        "client_reference_id": text(params, "client_reference_id"),
        "created": now,
        "currency": prices[0]["currency"],
        "customer": text(params, "customer"),
        "customer_details": None,
        "customer_email": text(params, "customer_email"),
        "expires_at": integer(params, "expires_at", now + DAY_S),
        "invoice": None,
        "livemode": False,
        "metadata": metadata(params),
        "mode": mode,
        "payment_status": "unpaid",
        "status": "open",
        "subscription": None,
        "success_url": text(params, "success_url"),
        "ui_mode": "hosted",
        "url": f"https://checkout.stripe.com/c/pay/{id_}",
    }
    account.checkouts[id_] = params
    return account.add(KIND, made)


@route("GET", "/v1/checkout/sessions", *PAGE, "customer", "subscription", "status", "created")
def list_all(account: Account, params: Params) -> Json:
    found = within(account.newest(KIND), params)
    found = having(found, params, "customer", "subscription", "status")
    return page(found, params, "/v1/checkout/sessions")


@route("GET", "/v1/checkout/sessions/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find(KIND, id_)


@route("GET", "/v1/checkout/sessions/{id_}/line_items", *PAGE)
def list_items(account: Account, params: Params, id_: str) -> Json:
    account.find(KIND, id_)
    items = [
        {
            "id": f"li_{id_[8:]}{number}",
            "object": "item",
            "price": account.find("price", one["price"], param="price"),
            "quantity": int(one.get("quantity", 1)),
        }
        for number, one in enumerate(many(account.checkouts[id_], "line_items"))
    ]
    return listed(items, f"/v1/checkout/sessions/{id_}/line_items")


@route("POST", "/v1/checkout/sessions/{id_}/expire")
def expire(account: Account, params: Params, id_: str) -> Json:
    found = _open(account, id_)
    found.update(status="expired", url=None)
    account.emit("checkout.session.expired", found)
    return found


def complete(account: Account, id_: str, *, email: str = "somebody@example.com") -> Json:
    """Pay, as a customer would on the page.

    Raises:
        Refused: it is over, or the card is declined, which leaves the session open.
    """
    found = _open(account, id_)
    asked = account.checkouts[id_]
    details = mapping(asked, "subscription_data")
    customer = found["customer"]
    if customer in account.declined:
        raise Refused("Your card was declined.", status=402, kind="card_error")
    if customer is None:
        customer = customers.create(account, {"email": found["customer_email"] or email})["id"]
    account.without_payment_method.discard(customer)
    items = [
        {name: one[name] for name in ("price", "quantity") if name in one}
        for one in many(asked, "line_items")
    ]
    kept = {name: details[name] for name in details.keys() & {"metadata", "trial_period_days"}}
    made = subscriptions.create(account, {"customer": customer, "items": items, **kept})
    found.update(
        customer=customer,
        customer_details={"email": account.find("customer", customer)["email"]},
        invoice=made["latest_invoice"],
        payment_status="paid",
        status="complete",
        subscription=made["id"],
        url=None,
    )
    account.emit("checkout.session.completed", found)
    return found


def _open(account: Account, id_: str) -> Json:
    found = account.find(KIND, id_)
    if found["status"] != "open":
        raise Refused(f"This session is {found['status']}.")
    return found
