from ledger.stripe.api import StripeApi
from tests.stripe.local_stripe import KEY, a_history, at, local_stripe
from tests.stripe.running import standing_in


async def test_both_stand_ins_have_what_we_read() -> None:
    """Where they cover the same, they name it the same."""
    fields = {
        "customer": {"id", "object", "created", "email", "name", "metadata", "description"},
        "subscription": {
            *("id", "object", "status", "customer", "items", "metadata", "created"),
            *("cancel_at_period_end", "canceled_at", "ended_at", "latest_invoice", "trial_end"),
        },
        "invoice": {
            *("id", "object", "status", "customer", "lines", "total", "subtotal", "currency"),
            *("amount_due", "amount_paid", "billing_reason", "created"),
        },
    }
    async with standing_in() as ours, local_stripe("http://127.0.0.1:9", "whsec") as url:
        api = StripeApi(KEY, url, per_second=10_000)
        await a_history(api)
        theirs = (await at(api)).values()
        await api.close()
        account = ours.account
        product = account.post("/v1/products", name="Pro")["id"]
        asked = {"currency": "eur", "unit_amount": 1, "recurring": {"interval": "month"}}
        price = account.post("/v1/prices", product=product, **asked)["id"]
        customer = account.post("/v1/customers")["id"]
        account.post("/v1/subscriptions", customer=customer, items=[{"price": price}])

    for kind, names in fields.items():
        (one,) = account.objects[kind].values()
        assert names <= one.keys()
        lacking = {n for other in theirs if other["object"] == kind for n in names - other.keys()}
        assert not lacking, kind
