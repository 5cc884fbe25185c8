from datetime import UTC, datetime, timedelta

import pytest

from events import accounts
from events.accounts import AccountChanged
from events.ids import new_id
from ledger import key_format
from ledger.accounts import (
    create_account,
    find_account,
    grant_credit,
    list_accounts,
    list_credits,
)
from ledger.api_keys import create_key, find_key, keys_used, list_keys, revoke_key
from ledger.db import Connection
from ledger.errors import AccountExists, UnknownAccount

SECRET = b"a secret of the server's"


async def test_a_key_leads_to_its_account(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")

    key, plain = await create_key(ledger, account.id, "laptop", SECRET)

    assert key.id == key_format.public_id(plain)
    assert await find_key(ledger, key_format.digest(plain, SECRET)) == key
    found = await find_account(ledger, key.account_id)
    assert found
    assert (found.id, found.name) == (account.id, "Ada")


async def test_the_ledger_keeps_nothing_that_opens_a_door(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    _, plain = await create_key(ledger, account.id, "laptop", SECRET)

    row = await ledger.fetchval("SELECT api_keys::text FROM api_keys")

    assert plain[14:] not in row


async def test_a_revoked_key_is_found_as_revoked_for_good(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    key, plain = await create_key(ledger, account.id, "laptop", SECRET)

    revoked = await revoke_key(ledger, key.id)
    again = await revoke_key(ledger, key.id)

    assert revoked
    assert revoked.revoked_at
    assert again == revoked == await find_key(ledger, key_format.digest(plain, SECRET))


async def test_what_is_unknown_is_none(ledger: Connection) -> None:
    assert await find_account(ledger, new_id()) is None
    assert await find_key(ledger, b"\0" * 32) is None
    assert await revoke_key(ledger, "nobody") is None


async def test_accounts_and_keys_are_listed_oldest_first(ledger: Connection) -> None:
    ada, bob = [await create_account(ledger, name) for name in ("Ada", "Bob")]
    first, _ = await create_key(ledger, ada.id, "one", SECRET)
    other, _ = await create_key(ledger, bob.id, "other", SECRET)
    second, _ = await create_key(ledger, ada.id, "two", SECRET)

    assert [account.id for account in await list_accounts(ledger)] == [ada.id, bob.id]
    assert await list_keys(ledger, ada.id) == [first, second]
    assert await list_keys(ledger) == [first, other, second]


async def test_errors_carry_the_account(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    nobody = new_id()

    with pytest.raises(AccountExists) as exists:
        await create_account(ledger, "Eve", account_id=account.id)
    with pytest.raises(UnknownAccount) as unknown:
        await create_key(ledger, nobody, "laptop", SECRET)

    assert (exists.value.account_id, unknown.value.account_id) == (account.id, nobody)


async def test_when_keys_were_used_is_noted_and_never_goes_back(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    (one, _), (other, _) = [await create_key(ledger, account.id, "", SECRET) for _ in range(2)]
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    await keys_used(ledger, {one.id: noon, other.id: noon, "nobody": noon})
    await keys_used(ledger, {one.id: noon - timedelta(hours=1)})

    assert [key.last_used_at for key in await list_keys(ledger, account.id)] == [noon, noon]


async def test_every_change_is_announced_with_it_or_not_at_all(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    await ledger.execute("DELETE FROM outbox")
    change = ledger.transaction()
    await change.start()
    await grant_credit(ledger, account.id, 5, "a gift")
    await change.rollback()
    assert await ledger.fetchval("SELECT count(*) FROM outbox") == 0

    await grant_credit(ledger, account.id, 5, "a gift")
    await grant_credit(ledger, account.id, -2, "too much")

    payload = await ledger.fetchval("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1")
    announced = accounts.decode(payload)
    assert isinstance(announced, AccountChanged)
    assert (announced.account.credit, announced.account.version) == (3, 2)
    entries = await list_credits(ledger, account.id)
    assert [(entry.amount, entry.reason) for entry in entries] == [(-2, "too much"), (5, "a gift")]
