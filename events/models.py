"""Models: how they are declared in a file, and announced by those who serve them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from events.errors import BadModelsFile
from events.subjects import token

SUBJECTS: Final = "models.>"
HOLD_S: Final = 15.0  # an announcement holds this long
ANNOUNCE_S: Final = 5.0  # and is repeated this often: two may be lost

ModelName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[\w.~-]+(/[\w.~-]+)?$")]
# as ISO 639 has it, or with its script, as FLORES-200 does: `fr`, `fra_Latn`
LANGUAGE: Final = r"^[a-z]{2,3}(_[A-Z][a-z]{3})?$"
Language = Annotated[str, Meta(pattern=LANGUAGE)]
CUSTOM: Final = "custom_model"  # and what follows it are one name, with its slash as it is
RESERVED: Final = frozenset(
    {
        "admin",
        "async",
        "balance",
        "billing",
        "budget",
        "chat",
        "completions",
        "embeddings",
        "files",
        "gpu",
        "health",
        "jobs",
        "limits",
        "models",
        "receipts",
        "usage",
        "webhooks",
    }
)  # first path segments under /v1 that mean something else


class Limits(Struct, frozen=True, kw_only=True):
    """How much of a model's device one batch, and one queue, may take."""

    batch_tokens: Annotated[int, Meta(ge=1)] = 16_384  # padded, per forward pass
    batch_ms: Annotated[float, Meta(gt=0)] = 500.0  # that one batch is expected to take, at most
    batch_wait_ms: Annotated[float, Meta(ge=0, le=1_000)] = 0.0  # for the first in line
    queue: Annotated[int, Meta(ge=1)] = 512  # requests; beyond it the worker is busy
    queue_ms: Annotated[float, Meta(ge=0, le=600_000)] = 40.0  # of work that waits: likewise
    slots: Annotated[int, Meta(ge=1, le=1_024)] = 16  # texts that are generated side by side
    gpu_memory: Annotated[float, Meta(gt=0, le=1)] = 0.9  # share that the worker's process may take


class ModelDeclared(Struct, frozen=True, kw_only=True):
    """One ``[[model]]`` of the models file.

    In the file an unknown field is a slip of the pen, and refused. On the wire it is one that
    a newer worker has, and left alone: else its models were gone until every edge is new.
    """

    name: ModelName
    source: str  # kind:where, read by inference/models
    tasks: Annotated[tuple[str, ...], Meta(min_length=1)]
    description: str = ""
    languages: tuple[Language, ...] = ()  # that it reads; empty: any
    translator: str = ""  # the model that translates others into the first of them, and back
    device: str = "cpu"
    limits: Limits = Limits()


class ModelAnnounced(Struct, frozen=True, kw_only=True):
    """A worker serves a model, and says for how long that holds."""

    model: ModelDeclared
    worker_id: UUID
    until: float  # Unix seconds; the past, once the worker leaves


class _StrictLimits(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As they are written in the file."""


class _StrictModel(ModelDeclared, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limits: _StrictLimits = _StrictLimits()


class _StrictFile(Struct, frozen=True, forbid_unknown_fields=True):
    model: list[_StrictModel]


class _File(Struct, frozen=True):
    model: list[ModelDeclared]


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModelAnnounced)


def subject(announced: ModelAnnounced) -> str:
    """The subject of one worker's announcement of one model."""
    return f"models.{token(announced.model.name)}.{announced.worker_id}"


def encode(announced: ModelAnnounced) -> bytes:
    """The announcement as JSON."""
    return _encoder.encode(announced)


def decode(message: bytes) -> ModelAnnounced:
    """Read an announcement.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decoder.decode(message)


def read_models(path: Path) -> Mapping[str, ModelDeclared]:
    """Read the models file: declarations by name, in the file's order.

    Raises:
        BadModelsFile: it is missing, is not TOML, or a model is wrong or doubled.
    """
    try:
        written = tomllib.loads(path.read_text())
        msgspec.convert(written, _StrictFile)
        models = msgspec.convert(written, _File).model
    except OSError as error:
        raise BadModelsFile(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadModelsFile(path, str(error)) from error
    declared: dict[str, ModelDeclared] = {}
    for model in models:
        if model.name in declared:
            raise BadModelsFile(path, f"model {model.name!r} is declared twice")
        if model.name.partition("/")[0] in RESERVED or model.name == CUSTOM:
            raise BadModelsFile(path, f"the name {model.name!r} is taken by a route")
        declared[model.name] = model
    for model in models:
        if reason := _unfit_translator(model, declared):
            raise BadModelsFile(path, f"model {model.name!r}: {reason}")
    return declared


def _unfit_translator(model: ModelDeclared, declared: Mapping[str, ModelDeclared]) -> str:
    """Why a model's translator can be none; empty where it can, or is not named."""
    if not model.translator:
        return ""
    if not model.languages:
        return "it has a translator, and must say which `languages` it reads"
    translator = declared.get(model.translator)
    if translator is None or "translation" not in translator.tasks:
        return f"its translator {model.translator!r} is no model that does translation"
    ours = model.languages[0]
    if translator.languages and ours not in translator.languages:
        return f"its translator {model.translator!r} does not speak {ours!r}"
    return ""
