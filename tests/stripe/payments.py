"""Paying an invoice that is open: again, or at last."""

from tests.stripe.account import Account
from tests.stripe.errors import Refused
from tests.stripe.form import Params
from tests.stripe.invoices import attempt, declined
from tests.stripe.routes import Json, route
from tests.stripe.subscriptions import settle


@route("POST", "/v1/invoices/{id_}/pay", "paid_out_of_band", "payment_method")
def pay(account: Account, params: Params, id_: str) -> Json:
    invoice = account.find("invoice", id_)
    if invoice["status"] != "open":
        raise Refused("Invoice is already paid", code="invoice_already_paid")
    paid = attempt(account, invoice)
    settle(account, invoice)
    if not paid:
        raise declined()
    return invoice
