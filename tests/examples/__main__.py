"""`make examples`: asks a running system all examples, and writes what it answers.

The pages show it: edge/documentation/answers.json.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.documentation import answers
from edge.documentation.answers import RecordedAnswer
from edge.endpoint import HTML
from tests.examples.page import Page
from tests.examples.places import ENDPOINTS, PLANS, answerable, stock
from tests.examples.recorder import Passed, recording
from tests.examples.running import Ran, Reader
from tests.stripe.app import KEY
from tests.stripe.running import standing_in
from tests.system.system import running

FILE: Final = Path(answers.__file__).with_name("answers.json")
SHOWN: Final = (
    "content-type",
    "x-request-id",
    "ratelimit",
    "x-ratelimit",
    "retry-after",
    "server-timing",
    "cache-control",
    "location",
    "preference-applied",
)  # headers that begin so
ITEMS: Final = 3  # of a list
NUMBERS: Final = 6  # of a vector
LINES: Final = 12  # of a text
MAX_CHARACTERS: Final = 6_000  # of JSON; more says less than the schema


async def record() -> None:
    """Start a system with all models and a stand-in of Stripe's, and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = place / ".tollgate"
        home.mkdir()
        (home / "selling.toml").write_text(PLANS)
        async with standing_in() as stripe:
            own = stock(stripe)
            environment = {
                "TOLLGATE_PLANS_FILE": str(home / "selling.toml"),
                "TOLLGATE_STRIPE_API_KEY": KEY,
                "TOLLGATE_STRIPE_API_BASE": stripe.url,
            }
            async with running(home, environment=environment) as system:
                with recording(system.url) as recorder:
                    reader = Reader(system.url, system.admin_token, recorder, place, own)
                    async with system.client() as client:
                        names = await answerable(client)
                    pages = await reader.pages(
                        name for name in names if HTML not in ENDPOINTS[name].media_types
                    )
                    ran = await reader.run([_by_curl(page) for page in pages])
    FILE.write_text(_written(ran))


def _by_curl(page: Page) -> Page:
    snippets = [one for one in page.snippets if one.language == "curl" and one.kind != "stream"]
    return msgspec.structs.replace(page, snippets=snippets)


def _written(ran: Sequence[Ran]) -> str:
    found = {}
    for one in sorted(ran, key=lambda ran: ran.snippet.page):
        example = ENDPOINTS[one.snippet.page].example
        assert not one.failed or (example and example.unless), (one.snippet.page, one.output)
        (passed,) = one.passed
        found[one.snippet.page] = msgspec.to_builtins(_recorded(passed))
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _recorded(passed: Passed) -> RecordedAnswer:
    headers = {name: value for name, value in passed.headers.items() if name.startswith(SHOWN)}
    text = passed.body.decode()
    if text and headers.get("content-type", "").startswith("application/json"):
        whole = json.loads(text)
        body, shown = json.dumps(whole, indent=2, ensure_ascii=False), _cut(whole)
        if shown != whole:
            body = json.dumps(shown, indent=2, ensure_ascii=False)
        if len(body) > MAX_CHARACTERS:
            return RecordedAnswer(status=passed.status, headers=headers, body="", cut=True)
        return RecordedAnswer(status=passed.status, headers=headers, body=body, cut=shown != whole)
    lines = text.splitlines()
    return RecordedAnswer(
        status=passed.status,
        headers=headers,
        body="\n".join(lines[:LINES]),
        cut=len(lines) > LINES,
    )


def _cut(value: Any) -> Any:
    """JSON with long lists cut short; it is of the same schema."""
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        numbers = all(isinstance(item, float) for item in value)
        return [_cut(item) for item in value[: NUMBERS if numbers else ITEMS]]
    return value


if __name__ == "__main__":
    asyncio.run(record())
