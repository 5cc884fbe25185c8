"""`tollgate stripe restore`."""

from collections.abc import Sequence
from pathlib import Path

from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_stripe
from deploy.commands.stripe_export import NoFile
from ledger.db import Pool, acquire
from ledger.stripe.api import StripeApi
from ledger.stripe.exports import read_export
from ledger.stripe.restore import Restore

_GONE = """\
What cannot be made again: means of payment (customers enter them at the portal, or Stripe
moves them between accounts on request), past invoices, discounts and taxes, features that
products give. Nothing is charged before each customer's running period is over."""


def restore(file: Path, *, go_on: bool) -> bool:
    """Restore an export; whether everything is as it was."""
    try:
        with file.open() as lines:
            export = read_export(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise NoFile(f"{file}: {error}") from error

    async def run(pool: Pool, stripe: StripeApi) -> Sequence[str]:
        async with acquire(pool) as connection:
            restoring = Restore(connection, stripe, export, running_plans().plans, print)
            return await restoring.run(go_on=go_on)

    differences = ask_stripe(run)
    for difference in differences:
        print(difference)
    print(_GONE)
    wrong = [one for one in differences if one.startswith("account ")]
    print(f"{len(wrong)} accounts differ" if wrong else "every account has its plan and its limits")
    return not wrong
