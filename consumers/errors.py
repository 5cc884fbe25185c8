"""What a consumer's write may say about a message, besides what the ledger says."""


class ConsumerError(Exception):
    """Base of this package's errors."""


class NotDelivered(ConsumerError):
    """Not this time; try again later."""


class Undeliverable(ConsumerError):
    """Never; park the message."""
