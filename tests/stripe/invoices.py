"""Invoices of subscriptions: made, finalized and paid for, or not.

Stripe leaves a renewal's invoice a draft for an hour; here it is finalized at once.
There are no prorations and no taxes.
"""

from decimal import ROUND_HALF_UP, Decimal

from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, having, listed, page, within
from tests.stripe.meters import used
from tests.stripe.routes import Json, route

DAY_S = 86_400
RETRIES_S = (3 * DAY_S, 5 * DAY_S, 7 * DAY_S)  # after one failed attempt, two, three


@route("GET", "/v1/invoices", *PAGE, "customer", "subscription", "status", "created")
def list_all(account: Account, params: Params) -> Json:
    found = having(within(account.newest("invoice"), params), params, "customer", "status")
    if "subscription" in params:
        found = [one for one in found if subscription_of(one) == params["subscription"]]
    return page(found, params, "/v1/invoices")


@route("GET", "/v1/invoices/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find("invoice", id_)


@route("GET", "/v1/invoices/{id_}/lines", *PAGE)
def list_lines(account: Account, params: Params, id_: str) -> Json:
    lines = account.find("invoice", id_)["lines"]
    return page(lines["data"], params, lines["url"])


@route("POST", "/v1/invoices/{id_}/void")
def void(account: Account, params: Params, id_: str) -> Json:
    invoice = account.find("invoice", id_)
    if invoice["status"] != "open":
        raise Refused("You can only pass in open invoices.")
    with account.changing(invoice, "invoice.voided"):
        invoice["status"] = "void"
        invoice["status_transitions"]["voided_at"] = account.clock.now()
    return invoice


def declined() -> Refused:
    return Refused("Your card was declined.", status=402, kind="card_error", code="card_declined")


def subscription_of(invoice: Json) -> str:
    return str(invoice["parent"]["subscription_details"]["subscription"])


def bill(
    account: Account,
    subscription: Json,
    reason: str,
    ended: tuple[int, int] | None = None,
    *,
    charged: bool = True,
) -> Json:
    """A finalized invoice: the coming period of what has a price, the last of what is metered.

    Args:
        account: Whose.
        subscription: Whose items are billed.
        reason: Stripe's `billing_reason`.
        ended: The metered period, where one has ended.
        charged: False while a trial runs.
    """
    customer = account.find("customer", subscription["customer"], param="customer")
    now = account.clock.now()
    lines = []
    for item in subscription["items"]["data"]:
        recurring = item["price"]["recurring"]
        if recurring["usage_type"] == "metered":
            if ended is not None:
                quantity = used(account, recurring["meter"], customer["id"], *ended)
                lines.append(_line(account, item, quantity, ended))
        else:
            period = item["current_period_start"], item["current_period_end"]
            lines.append(_line(account, item, item["quantity"], period, charged=charged))
    total = sum(line["amount"] for line in lines)
    id_ = account.mint("in")
    number = customer["next_invoice_sequence"]
    invoice = {
        "id": id_,
        "object": "invoice",
        "amount_due": total,
        "amount_paid": 0,
        "amount_remaining": total,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "created": now,
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "description": None,
        "due_date": None,
        "ending_balance": None,
        "hosted_invoice_url": None,
        "lines": listed(lines, f"/v1/invoices/{id_}/lines"),
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "period_end": ended[1] if ended else now,
        "period_start": ended[0] if ended else now,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": total,
        "test_clock": None,
        "total": total,
        "total_taxes": [],
    }
    for line in lines:
        line["invoice"] = id_
    account.add("invoice", invoice)
    account.emit("invoice.created", invoice)
    with account.changing(invoice, "invoice.finalized"):
        invoice["status"] = "open"
        invoice["number"] = f"{customer['invoice_prefix']}-{number:04}"
        invoice["status_transitions"]["finalized_at"] = now
        invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/{id_}"
    with account.changing(customer, "customer.updated"):
        customer["next_invoice_sequence"] = number + 1
        customer["currency"] = customer["currency"] or subscription["currency"]
    return invoice


def attempt(account: Account, invoice: Json) -> bool:
    """Try to collect it; whether that worked is the test's to say."""
    fails = invoice["amount_due"] > 0 and bool(
        invoice["customer"] in account.declined | account.without_payment_method
    )
    now = account.clock.now()
    count = invoice["attempt_count"] + 1
    if fails:
        with account.changing(invoice, "invoice.payment_failed"):
            later = RETRIES_S[count - 1] if count <= len(RETRIES_S) else None
            cycles = invoice["billing_reason"] != "subscription_create"
            invoice.update(
                attempt_count=count,
                attempted=True,
                next_payment_attempt=now + later if later and cycles else None,
            )
        return False
    before = invoice["status"]
    invoice.update(
        attempt_count=count,
        attempted=True,
        next_payment_attempt=None,
        status="paid",
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
    )
    invoice["status_transitions"]["paid_at"] = now
    account.emit("invoice.paid", invoice, {"status": before})
    account.emit("invoice.payment_succeeded", invoice, {"status": before})
    return True


def _line(
    account: Account,
    item: Json,
    quantity: int,
    period: tuple[int, int],
    *,
    charged: bool = True,
) -> Json:
    price = item["price"]
    exact = Decimal(price["unit_amount_decimal"]) * quantity * charged
    amount = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    return {
        "id": account.mint("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{quantity} x {price['nickname'] or price['product']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": dict(item["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": None,
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "subscription": item["subscription"],
        "subtotal": amount,
        "taxes": [],
    }
