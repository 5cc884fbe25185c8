"""What usage is counted in."""

from typing import Literal

Unit = Literal[  # what limits are of, and prices
    "requests",
    "input_tokens",
    "output_tokens",
    "input_words",
    "output_words",
    "input_characters",
    "output_characters",
    "translated_characters",
    "cost",  # in billionths of the currency's unit
]
MeterUnit = Literal[Unit, "device_ms"]  # what Stripe can be told
Quantity = Literal[MeterUnit, "errors"]  # what reports are about
