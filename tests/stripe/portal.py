"""The customer portal's links."""

from tests.stripe.account import Account
from tests.stripe.form import Params
from tests.stripe.params import required, text
from tests.stripe.routes import Json, route


@route(
    "POST", "/v1/billing_portal/sessions", "customer", "return_url", "configuration", "flow_data"
)
def create(account: Account, params: Params) -> Json:
    customer = account.find("customer", required(params, "customer"), param="customer")
    id_ = account.mint("bps")
    return account.add(
        "billing_portal.session",
        {
            "id": id_,
            "object": "billing_portal.session",
            "configuration": text(params, "configuration", "bpc_default"),
            "created": account.clock.now(),
            "customer": customer["id"],
            "flow": None,
            "livemode": False,
            "locale": None,
            "on_behalf_of": None,
            "return_url": text(params, "return_url"),
            "url": f"https://billing.stripe.com/p/session/{id_}",
        },
    )
