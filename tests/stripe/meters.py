"""Billing meters: what is reported to them, and what they add up to."""

from collections import defaultdict
from decimal import Decimal, InvalidOperation

from tests.stripe.account import Account
from tests.stripe.errors import Refused, missing
from tests.stripe.form import Params
from tests.stripe.lists import PAGE, page
from tests.stripe.params import integer, mapping, one_of, required, text
from tests.stripe.routes import Json, route

DAY_S = 86_400
PAST_S = 35 * DAY_S
FUTURE_S = 300
UNIQUE_S = DAY_S
METER = "billing.meter"


@route(
    "POST",
    "/v1/billing/meters",
    "display_name",
    "event_name",
    "default_aggregation",
    "customer_mapping",
    "value_settings",
    "event_time_window",
)
def create(account: Account, params: Params) -> Json:
    name = required(params, "event_name")
    display_name = required(params, "display_name")
    formula = one_of(
        mapping(params, "default_aggregation"), "formula", ("sum", "count", "last"), ""
    )
    if any(one["event_name"] == name for one in _active(account)):
        raise Refused("An active meter already exists with this event name.", param="event_name")
    by, value = mapping(params, "customer_mapping"), mapping(params, "value_settings")
    now = account.clock.now()
    made = {
        "id": account.mint("mtr"),
        "object": METER,
        "created": now,
        "customer_mapping": {
            "event_payload_key": text(by, "event_payload_key", "stripe_customer_id"),
            "type": "by_id",
        },
        "default_aggregation": {"formula": formula},
        "display_name": display_name,
        "event_name": name,
        "event_time_window": text(params, "event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": now,
        "value_settings": {"event_payload_key": text(value, "event_payload_key", "value")},
    }
    account.add(METER, made)
    account.emit("billing.meter.created", made)
    return made


@route("GET", "/v1/billing/meters", *PAGE, "status")
def list_all(account: Account, params: Params) -> Json:
    found = list(account.newest(METER))
    if "status" in params:
        found = [one for one in found if one["status"] == params["status"]]
    return page(found, params, "/v1/billing/meters")


@route("GET", "/v1/billing/meters/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find(METER, id_)


@route("POST", "/v1/billing/meters/{id_}/deactivate")
def deactivate(account: Account, params: Params, id_: str) -> Json:
    found = account.find(METER, id_)
    now = account.clock.now()
    with account.changing(found, "billing.meter.deactivated"):
        found.update(status="inactive", status_transitions={"deactivated_at": now}, updated=now)
    return found


@route("POST", "/v1/billing/meters/{id_}/reactivate")
def reactivate(account: Account, params: Params, id_: str) -> Json:
    found = account.find(METER, id_)
    now = account.clock.now()
    with account.changing(found, "billing.meter.reactivated"):
        found.update(status="active", status_transitions={"deactivated_at": None}, updated=now)
    return found


@route("POST", "/v1/billing/meter_events", "event_name", "payload", "identifier", "timestamp")
def report(account: Account, params: Params) -> Json:
    name = required(params, "event_name")
    meter = next((one for one in _active(account) if one["event_name"] == name), None)
    if meter is None:
        raise Refused(f"No active meter found for event name '{name}'.", param="event_name")
    payload = mapping(params, "payload")
    if not payload:
        raise missing("payload")
    now = account.clock.now()
    timestamp = integer(params, "timestamp", now) or 0
    if timestamp < now - PAST_S:
        raise Refused(
            "The timestamp must be within the past 35 calendar days.",
            code="timestamp_too_far_in_past",
            param="timestamp",
        )
    if timestamp > now + FUTURE_S:
        raise Refused(
            "The timestamp must be no more than 5 minutes in the future.",
            code="timestamp_in_future",
            param="timestamp",
        )
    _check_payload(meter, payload)
    identifier = text(params, "identifier") or account.mint("mevt")
    if len(identifier) > 100:
        raise Refused("Invalid string: must be at most 100 characters", param="identifier")
    if account.meter_identifiers.get(identifier, -UNIQUE_S) > now - UNIQUE_S:
        raise Refused(f"An event already exists with identifier {identifier}.")
    account.meter_identifiers[identifier] = now
    made = {
        "object": "billing.meter_event",
        "created": now,
        "event_name": name,
        "identifier": identifier,
        "livemode": False,
        "payload": payload,
        "timestamp": timestamp,
    }
    account.meter_events.setdefault(name, []).append(made)
    return made


@route("POST", "/v1/billing/meter_event_adjustments", "event_name", "type", "cancel")
def adjust(account: Account, params: Params) -> Json:
    """Take a report back, within a day."""
    name = required(params, "event_name")
    identifier = required(mapping(params, "cancel"), "identifier")
    reported = account.meter_events.get(name, [])
    found = [one for one in reported if one["identifier"] == identifier]
    if not found or found[0]["created"] < account.clock.now() - DAY_S:
        raise Refused(f"No meter event found with identifier {identifier}.", param="cancel")
    reported.remove(found[0])
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": name,
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


@route(
    "GET",
    "/v1/billing/meters/{id_}/event_summaries",
    *PAGE,
    "customer",
    "start_time",
    "end_time",
    "value_grouping_window",
)
def summarize(account: Account, params: Params, id_: str) -> Json:
    """What a customer's reports add up to; nothing for hours and days without any."""
    meter = account.find(METER, id_)
    customer = required(params, "customer")
    start = integer(params, "start_time")
    end = integer(params, "end_time")
    if start is None or end is None:
        raise missing("start_time" if start is None else "end_time")
    window = {None: None, "hour": 3_600, "day": DAY_S}[text(params, "value_grouping_window")]
    if start % (window or 60) or end % (window or 60):
        raise Refused(f"Times must be aligned with {window or 60} seconds.", param="start_time")
    if window is None:
        bounds = [(start, end)]
    else:
        bounds = [(one, one + window) for one in range(start, end, window)]
    summaries = [
        {
            "id": f"mtrusg_{meter['id'][4:]}{first}",
            "object": "billing.meter_event_summary",
            "aggregated_value": used(account, id_, customer, first, last),
            "end_time": last,
            "livemode": False,
            "meter": id_,
            "start_time": first,
        }
        for first, last in reversed(bounds)
        if window is None or _reported(account, meter, customer, first, last)
    ]
    return page(summaries, params, f"/v1/billing/meters/{id_}/event_summaries")


def used(account: Account, meter: str, customer: str, start: int, end: int) -> int:
    """What a meter makes of a customer's reports of a time."""
    found = account.find(METER, meter)
    values = _reported(account, found, customer, start, end)
    formulas = {"count": len(values), "sum": sum(values), "last": values[-1] if values else 0}
    return int(formulas[found["default_aggregation"]["formula"]])


def _reported(account: Account, meter: Json, customer: str, start: int, end: int) -> list[Decimal]:
    key = meter["customer_mapping"]["event_payload_key"]
    value = meter["value_settings"]["event_payload_key"]
    by_time: dict[int, list[Decimal]] = defaultdict(list)
    for one in account.meter_events.get(meter["event_name"], []):
        if one["payload"].get(key) == customer and start <= one["timestamp"] < end:
            by_time[one["timestamp"]].append(Decimal(one["payload"].get(value, "1")))
    return [value for time in sorted(by_time) for value in by_time[time]]


def _active(account: Account) -> list[Json]:
    return [one for one in account.newest(METER) if one["status"] == "active"]


def _check_payload(meter: Json, payload: Params) -> None:
    if meter["customer_mapping"]["event_payload_key"] not in payload:
        key = meter["customer_mapping"]["event_payload_key"]
        raise Refused(f"Payload is missing the customer mapping key '{key}'.", param="payload")
    if meter["default_aggregation"]["formula"] == "count":
        return
    key = meter["value_settings"]["event_payload_key"]
    value = str(required(payload, key))
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number != int(number) or len(value.lstrip("-")) > 15:
        raise Refused(
            f"The value in the payload must be a whole number of at most 15 digits: {value}",
            code="meter_event_invalid_value",
            param="payload",
        )
