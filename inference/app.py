"""The worker process: everything that it is made of is built here."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from events import broker, streams
from events.ending import end
from events.ids import new_id
from events.models import ModelDeclared, read_models
from events.tasks import all_tasks
from inference.announce import Announcer
from inference.batch_pipeline import BatchPipeline
from inference.consumer import Consumer
from inference.errors import ModelUnfit
from inference.models import load
from inference.models.model import Generator
from inference.pipeline import Pipeline
from inference.settings import Settings
from inference.step_pipeline import StepPipeline
from inference.thread import ModelThread

log = structlog.get_logger()

Result = TypeVar("Result")

GRACE_S: Final = 0.5  # from "we are leaving" to leaving: edges hear of it in milliseconds


def create_app(settings: Settings) -> "Worker":
    """Read the models file and choose what to serve.

    Raises:
        BadModelsFile: the file cannot be used.
        ModelUnfit: a chosen model is not declared, or has a task that nobody knows.
    """
    declared = read_models(Path(settings.models_file))
    if unknown := sorted(settings.chosen - declared.keys()):
        raise ModelUnfit(unknown[0], f"is not declared in {settings.models_file}")
    tasks = all_tasks()
    models = [
        model for model in declared.values() if not settings.chosen or model.name in settings.chosen
    ]
    for model in models:
        if strange := sorted(set(model.tasks) - tasks.keys()):
            raise ModelUnfit(model.name, f"there is no task {strange[0]!r}")
    return Worker(settings, models)


class Worker:
    """Serves models until it is told to stop."""

    def __init__(self, settings: Settings, models: Sequence[ModelDeclared]) -> None:
        self._settings = settings
        self._models = models
        self._tasks = all_tasks()

    async def run(self, stop: asyncio.Event) -> None:
        """Load the models, serve them, and leave in good order once `stop` is set.

        Raises:
            ModelUnfit: one cannot be loaded.
            StreamMissing: `tollgate migrate` has not been run.
            nats.errors.Error, OSError: no broker answered.
        """
        again = asyncio.Event()

        async def announce_again() -> None:
            again.set()

        client = await broker.connect(
            self._settings.nats_url, "tollgate-worker", on_reconnect=announce_again
        )
        try:
            await streams.require(client, streams.MODELS)
            consumer = Consumer(client)
            pipelines = await _unless(stop, self._load(consumer))
            if pipelines is not None:
                announcer = Announcer(client, new_id(), again=again)
                await self._serve(pipelines, consumer, announcer, stop)
        finally:
            await client.close()

    async def _load(self, consumer: Consumer) -> list[tuple[ModelDeclared, Pipeline]]:
        pipelines: list[tuple[ModelDeclared, Pipeline]] = []
        for declared in self._models:
            started = time.monotonic()
            device = ModelThread(f"run {declared.name}")
            model = await device.call(load, declared)
            pipeline = (
                StepPipeline(model, declared.limits, consumer.answer, device=device)
                if isinstance(model, Generator)
                else BatchPipeline(model, declared.limits, consumer.answer, device=device)
            )
            pipelines.append((declared, pipeline))
            log.info("model_loaded", model=declared.name, seconds=time.monotonic() - started)
        return pipelines

    async def _serve(
        self,
        pipelines: Sequence[tuple[ModelDeclared, Pipeline]],
        consumer: Consumer,
        announcer: Announcer,
        stop: asyncio.Event,
    ) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(pipeline.serve()) for _, pipeline in pipelines]
            await consumer.listen()
            for declared, pipeline in pipelines:
                tasks = [self._tasks[name] for name in declared.tasks]
                await consumer.subscribe(declared.name, tasks, pipeline)
                announcer.serve(declared)
            running.append(group.create_task(consumer.heartbeats()))
            announcing = group.create_task(announcer.run())
            log.info("worker_ready", models=[declared.name for declared, _ in pipelines])
            await stop.wait()

            log.info("worker_leaving")
            consumer.refuse()
            announcer.leave()
            await announcing  # edges know before anything else happens
            async with asyncio.TaskGroup() as leaving:
                leaving.create_task(_leave(consumer))
                for _, pipeline in pipelines:
                    leaving.create_task(pipeline.drain(self._settings.drain_s))
            await end(running)
        log.info("worker_left")


async def _leave(consumer: Consumer) -> None:
    await asyncio.sleep(GRACE_S)
    await consumer.leave()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The work's result, or None if `stop` was set first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await end([working, stopping])
