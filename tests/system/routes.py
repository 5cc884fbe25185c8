"""What routes are to be asked, where the OpenAPI document cannot say it."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.system.mute import MODEL
from tests.system.town import Tenant

# parameters that name nobody's things, and something to say in them; empty: they are left out
NOBODYS: Mapping[str, str] = {
    "at": "now",
    "bucket": "year",
    "from": "2020-01-01T00:00:00Z",
    "group_by": "account,key,model",
    "latency": "false",
    "limit": "10",
    "model": "echo",
    "name": "echo",
    "page": "",
    "state": "open",
    "status": "200",
    "Stripe-Signature": "t=1,v1=00",
    "task": "echo",
    "to": "2040-01-01T00:00:00Z",
    "top": "requests",
}
# what routes take that are not asked of models; "{customer}" is the id of a tenant's
BODIES: Mapping[str, Any] = {
    "patch_account": {"plan": "pro"},
    "patch_any_subscription": {"cancel_at_period_end": True},
    "patch_subscription": {"cancel_at_period_end": True},
    "post_account": {"name": "mallory"},
    "post_any_subscription": {"plan": "pro"},
    "post_checkout": {
        "plan": "pro",
        "success_url": "https://mallory.example/yes",
        "cancel_url": "https://mallory.example/no",
    },
    "post_credit": {"amount": "-12.50", "reason": "mine now"},
    "post_key": {"name": "mine now"},
    "post_portal": {"return_url": "https://mallory.example/back"},
    "post_rotation": {"overlap_s": 0},
    "post_subscription": {"plan": "pro"},
    "put_budget": {"monthly": "0.01"},
    "put_customer": {"customer": "{customer}"},
    "put_webhook": {"url": "https://mallory.example/hook"},
    "receive_stripe_event": {"type": "customer.deleted"},
}


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of everything that a document describes."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def security_of(operation: Mapping[str, Any]) -> set[str]:
    """Who may call it: nobody in particular, an `api_key` or the `admin_token`."""
    return {name for way in operation["security"] for name in way}


def body_of(operation: Mapping[str, Any], tenant: Tenant) -> Any:
    """Something that an operation takes, about a tenant's things."""
    name = operation["operationId"]
    if "requestBody" not in operation:
        return None
    if name in BODIES:
        ids = {"{customer}": tenant.customer}
        return {field: ids.get(value, value) for field, value in BODIES[name].items()}
    content = operation["requestBody"]["content"]["application/json"]
    assert "example" in content, f"say in `BODIES` what {name} takes"
    return {**content["example"], **({"model": MODEL} if "model" in content["example"] else {})}
