"""A connection to the broker that is as patient as a test."""

from typing import Any

from nats.js import JetStreamContext

from events.broker import EncryptingClient
from tests.waiting import PATIENCE_S


class PatientClient(EncryptingClient):
    """Waits for what is synced to a disk that others keep busy; nats-py gives up after five s."""

    def jetstream(self, **options: Any) -> JetStreamContext:
        return super().jetstream(**{"timeout": PATIENCE_S, **options})
