"""PostgreSQL without TimescaleDB."""

from collections.abc import Sequence

from deploy.local.postgres import Postgres


class Plain(Postgres):
    """The same server as one that never heard of TimescaleDB."""

    @property
    def argv(self) -> Sequence[str]:
        return [option for option in super().argv if "shared_preload_libraries" not in option]
