"""Which models there are, and which of them run."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.errors import LanguageNotSpoken, UnknownModel, UnknownTask
from edge.translation import Translator
from events import broker, models
from events.direct import Direct
from events.models import ModelDeclared
from events.streams import MODELS
from events.tasks import translation
from events.tasks.translated import KEPT

log = structlog.get_logger()

MAX_SHOWN: Final = 64  # characters of an unknown name in its error


class ModelState(Struct, frozen=True):
    """A declared model, and how many workers serve it."""

    model: ModelDeclared
    workers: int


class Catalogue:
    """What the models file declares and what workers announce, the newest word of each.

    A worker's announcement holds for a while and is repeated; so a dead worker's
    models stay known, as declared and not running.
    """

    def __init__(
        self,
        connection: Client,
        direct: Direct,
        declared: Mapping[str, ModelDeclared],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._direct = direct
        self._models = dict(declared)
        self._holds: dict[str, dict[UUID, float]] = {name: {} for name in declared}
        self._clock = clock

    async def start(self) -> None:
        """Listen from now on, and read what was announced before."""
        await self._connection.subscribe(models.SUBJECTS, cb=self._hear)
        await broker.settle(self._connection)  # nothing falls between the two
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read the last word of every worker from the stream, as far as it answers."""
        try:
            for message in await self._direct.last(MODELS, models.SUBJECTS):
                await self._hear(message)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("announcements_not_read", error=repr(error))  # each comes again soon

    def require(self, model: str, task: str, language: str = "") -> Translator | None:
        """Check that a model is declared and does a task, in a language if one is named.

        Returns:
            Who stands between the caller and the model; None where nobody has to.

        Raises:
            UnknownModel: never declared.
            UnknownTask: declared, for other tasks.
            LanguageNotSpoken: declared, for other languages, and nobody translates.
        """
        declared = self._declared(model)
        if task not in declared.tasks:
            tasks = ", ".join(declared.tasks)
            message = f"model {model!r} does not do {task[:MAX_SHOWN]!r}; it does: {tasks}"
            raise UnknownTask(message, param="task")
        if not language or not declared.languages or language in declared.languages:
            return None
        return self._translator(declared, task, language)

    def _translator(self, declared: ModelDeclared, task: str, language: str) -> Translator:
        languages = ", ".join(declared.languages)
        translator = self._models.get(declared.translator)
        if translator is None or not _translates(translator, language):
            message = (
                f"model {declared.name!r} reads {languages}, and nothing here translates "
                f"{language!r}; translate the text first, and leave {language!r} out of the path"
            )
            raise LanguageNotSpoken(message, param="lang")
        if task in KEPT:
            message = (
                f"model {declared.name!r} reads {languages}, and {task!r} is not translated: "
                f"{KEPT[task]}; translate the text first, and leave {language!r} out of the path"
            )
            raise LanguageNotSpoken(message, param="lang")
        return Translator(translator.name, language, declared.languages[0])

    def states(self) -> Iterator[ModelState]:
        """Every declared model."""
        return map(self.state, self._models)

    def state(self, model: str) -> ModelState:
        """One model.

        Raises:
            UnknownModel: never declared.
        """
        return ModelState(self._declared(model), self.serving(model))

    def serving(self, model: str) -> int:
        """How many workers serve a model now; 0 where it was never declared."""
        now = self._clock()
        return sum(until > now for until in self._holds.get(model, {}).values())

    def _declared(self, model: str) -> ModelDeclared:
        declared = self._models.get(model)
        if declared is None:
            message = f"no model is called {model[:MAX_SHOWN]!r}; GET /v1/models lists them"
            raise UnknownModel(message, param="model")
        return declared

    async def _hear(self, message: Msg) -> None:
        try:
            announced = models.decode(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("announcement_unreadable", subject=message.subject, error=str(error))
            return
        name = announced.model.name
        self._models[name] = announced.model
        holds = self._holds.setdefault(name, {})
        holds[announced.worker_id] = announced.until
        now = self._clock()
        for worker_id in [worker_id for worker_id, until in holds.items() if until < now]:
            del holds[worker_id]


def _translates(model: ModelDeclared, language: str) -> bool:
    known = not model.languages or language in model.languages
    return known and translation.TASK.name in model.tasks
