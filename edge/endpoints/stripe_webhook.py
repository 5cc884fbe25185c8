"""Stripe's webhooks: verified, stored, answered; nothing else happens in the request."""

from edge.endpoint import WEBHOOKS, Public, raw
from edge.errors import BadSignature, BodyTooLarge, CompressedBody, NotStored
from edge.examples import Example
from edge.stripe.intake import NAME, PATH

endpoint = raw(
    NAME,
    PATH,
    {
        "parameters": [
            {
                "name": "Stripe-Signature",
                "in": "header",
                "required": False,
                "description": "Of exactly these bytes, by one of the endpoint's secrets.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"description": "One of Stripe's events."}}},
        },
        "responses": {"202": {"description": "It is stored, and will be in the ledger soon."}},
    },
    description="Takes Stripe's signed events. Durable before the answer.",
    perspective=Public,  # the signature says who it is
    services={WEBHOOKS},
    status_code=202,
    raises={BadSignature, BodyTooLarge, CompressedBody, NotStored},
    example=Example(body="$STRIPE_EVENT", headers={"Stripe-Signature": "$STRIPE_SIGNATURE"}),
)
