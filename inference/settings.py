"""Everything a worker reads from its environment."""

from typing import Annotated

from msgspec import Meta, Struct


class Settings(Struct, frozen=True, kw_only=True):
    """Read once, in main; passed down, never imported."""

    nats_url: str  # one or more servers, comma-separated
    models_file: str  # path of the file that declares the models
    models: str = ""  # names of those to serve, comma-separated; all if empty
    drain_s: Annotated[float, Meta(gt=0, le=600)] = 20.0  # from SIGTERM to the last answer

    @property
    def chosen(self) -> frozenset[str]:
        """The names in `models`."""
        return frozenset(name.strip() for name in self.models.split(",") if name.strip())
