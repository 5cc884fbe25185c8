"""What examples call by name, because it is another value for everybody who pastes them.

Each has a line of shell that sets it. Python and JavaScript find it in the environment.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

NAME: Final = re.compile(r"\$([A-Z][A-Z0-9_]*)")

_JSON: Final = "python3 -c 'import json, sys; print(json.load(sys.stdin){})'"
_ADMIN: Final = '-H "Authorization: Bearer $TOLLGATE_ADMIN_TOKEN"'
_KEY: Final = '-H "Authorization: Bearer $TOLLGATE_KEY"'
_SENDS_JSON: Final = "-H 'Content-Type: application/json'"


class Variable(Struct, frozen=True):
    """A value that examples take from the environment."""

    name: str
    meaning: str  # what it is, and where it comes from
    shell: str  # sets it; may name other variables
    own: bool = False  # what stands there is to be replaced by one's own


def _posting(path: str, body: str, authorization: str) -> str:
    return f"curl -sS \"$TOLLGATE_URL{path}\" {authorization} {_SENDS_JSON} -d '{body}'"


VARIABLES: Final[Mapping[str, Variable]] = {
    variable.name: variable
    for variable in (
        Variable("TOLLGATE_URL", "Where this API is.", "export TOLLGATE_URL=", own=True),
        Variable(
            "TOLLGATE_KEY",
            "Your API key: `make up` prints one, `tollgate keys create` makes another.",
            "export TOLLGATE_KEY=tg_...",
            own=True,
        ),
        Variable(
            "TOLLGATE_ADMIN_TOKEN",
            "The operator's token, `TOLLGATE_ADMIN_TOKEN` of the edge. This reads the one of a "
            "`make up` that runs in the same folder.",
            "export TOLLGATE_ADMIN_TOKEN=$("
            + _JSON.format('["TOLLGATE_ADMIN_TOKEN"]')
            + " < .tollgate/environment.json)",
        ),
        Variable(
            "ACCOUNT_ID",
            "An account's id, as in `id` of `/v1/admin/accounts`. This makes a new account.",
            "export ACCOUNT_ID=$("
            + _posting("/v1/admin/accounts", '{"name": "Ada"}', _ADMIN)
            + " | "
            + _JSON.format('["id"]')
            + ")",
        ),
        Variable(
            "KEY_ID",
            "A key's public id: what is between the two underscores of `tg_..._...`. This makes a "
            "new key for the account.",
            "export KEY_ID=$("
            + _posting("/v1/admin/accounts/$ACCOUNT_ID/keys", '{"name": "to try"}', _ADMIN)
            + " | "
            + _JSON.format('["key"]["id"]')
            + ")",
        ),
        Variable(
            "REQUEST_ID",
            "The `X-Request-Id` of an answer of a model's. This asks the model `echo`, and waits "
            "until its answer is recorded, so that there is something to see.",
            "export REQUEST_ID=$(curl -sS -o /dev/null -w '%header{x-request-id}' "
            '"$TOLLGATE_URL/v1/echo/echo" '
            f'{_KEY} {_SENDS_JSON} -d \'{{"text": "hello"}}\')\n'
            'until curl -sSf -o /dev/null "$TOLLGATE_URL/v1/usage/requests/$REQUEST_ID" '
            f"{_KEY} 2> /dev/null; do sleep 0.2; done",
        ),
        Variable(
            "JOB_ID",
            "The last part of the URL that an asynchronous request is answered with. This asks the "
            "model `echo`, and waits until there is a result.",
            "export JOB_ID=$("
            + _posting("/v1/async/echo/echo", '{"text": "hello"}', _KEY)
            + " | sed 's/.*jobs.//; s/\".*//')\n"
            + "until curl -sSf -o /dev/null -w '%{http_code}' "
            + f'"$TOLLGATE_URL/v1/jobs/$JOB_ID" {_KEY} | grep -q 200; do sleep 0.2; done',
        ),
        Variable(
            "NEW_JOB_ID",
            "The last part of the URL that an asynchronous request is answered with. This asks the "
            "model `echo`, which may have answered before you read this.",
            "export NEW_JOB_ID=$("
            + _posting("/v1/async/echo/echo", '{"text": "hello"}', _KEY)
            + " | sed 's/.*jobs.//; s/\".*//')",
        ),
        Variable(
            "CUSTOMER_ID",
            "A customer's id at Stripe, as its dashboard shows it.",
            "export CUSTOMER_ID=cus_...",
            own=True,
        ),
        Variable(
            "PAGE",
            "The name of an endpoint, as the first page links to it.",
            "export PAGE=get_usage",
        ),
        Variable(
            "STRIPE_EVENT",
            "The event, to the byte as it is signed.",
            "export STRIPE_EVENT='"
            '{"id": "evt_pasted", "object": "event", "type": "test.pasted", '
            '"created": 1795222800, "data": {"object": {}}}\'',
        ),
        Variable(
            "STRIPE_SIGNATURE",
            "Stripe's signature of it. This signs as Stripe would, with the secret of a `make up` "
            "that runs in the same folder.",
            "export STRIPE_WEBHOOK_SECRET=$("
            + _JSON.format('["TOLLGATE_STRIPE_WEBHOOK_SECRETS"]')
            + " < .tollgate/environment.json)\n"
            "export NOW=$(date +%s)\n"
            'export STRIPE_SIGNATURE="t=$NOW,v1=$(printf \'%s.%s\' "$NOW" "$STRIPE_EVENT" '
            '| openssl dgst -sha256 -hmac "$STRIPE_WEBHOOK_SECRET" | sed \'s/.* //\')"',
        ),
    )
}


def named(text: str) -> Iterator[str]:
    """The variables that a text names, each as often as it does."""
    return (name for name in NAME.findall(text) if name in VARIABLES)


def needed(text: str) -> Sequence[Variable]:
    """The variables that a text names and those that these need, in the order to set them in."""
    seen: set[str] = set()
    found: list[Variable] = []

    def need(text: str) -> None:
        for name in named(text):
            if name not in seen:
                seen.add(name)
                need(VARIABLES[name].shell)
                found.append(VARIABLES[name])

    need(text)
    return found
