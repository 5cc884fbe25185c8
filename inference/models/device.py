"""Where a model's tensors live; only for modules that import torch anyway."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
import torch
from torch import Tensor

from events.models import ModelDeclared
from inference.errors import DeviceFull, DeviceLost, ModelUnfit

log = structlog.get_logger()

_NO_MEMORY: Final = 2  # cudaErrorMemoryAllocation


def device_of(declared: ModelDeclared) -> torch.device:
    """The device that a declaration asks for; this process keeps to its share of a GPU's memory.

    Raises:
        ModelUnfit: this machine has none such.
    """
    device = _device(declared)
    log.info("device_chosen", model=declared.name, declared=declared.device, device=str(device))
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # noqa: FBT003 - it plans anew for every shape
        share = declared.limits.gpu_memory
        with _room_for(declared):
            torch.cuda.set_per_process_memory_fraction(share, device.index or 0)
    return device


def move(model: torch.nn.Module, device: torch.device, declared: ModelDeclared) -> None:
    """Put a model onto its device, ready to be run.

    Raises:
        ModelUnfit: there is no room for it.
    """
    with _room_for(declared):
        model.eval().to(device)


def lanes_of(device: torch.device) -> int:
    """How many batches to run on a device side by side: one on a GPU, and one on each core."""
    return len(os.sched_getaffinity(0)) if device.type == "cpu" else 1


def keep_threads(number: int | None = None) -> None:
    """Have operations of the calling thread use so many others from now on; by default, as they do.

    To torch that is each thread's own affair once it has computed something, or asked; one
    that has not takes over what was said last, in whatever thread.
    """
    torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)


def copied(values: Sequence[Any], device: torch.device) -> Tensor:
    """Numbers, on the device; the copy to a GPU goes on while the CPU does something else."""
    gpu = device.type == "cuda"
    return torch.tensor(values, pin_memory=gpu).to(device, non_blocking=gpu)


def fetched(values: Tensor) -> Tensor:
    """Numbers as float32, on the CPU."""
    values = values.float()  # on the device: there it is quicker
    if values.device.type == "cpu":
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values)


@contextmanager
def on_device() -> Iterator[None]:
    """Make it everybody's business that a device is full, or gone.

    Raises:
        DeviceFull, DeviceLost: instead of torch's own errors, which only modules like this one
            know.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceFull from error
    except torch.AcceleratorError as error:
        if getattr(error, "error_code", None) == _NO_MEMORY:
            raise DeviceFull from error
        raise DeviceLost from error


@contextmanager
def _room_for(declared: ModelDeclared) -> Iterator[None]:
    try:
        with on_device():
            yield
    except DeviceFull as error:
        reason = f"its device, {declared.device!r}, has no room for it"
        raise ModelUnfit(declared.name, reason) from error


def _device(declared: ModelDeclared) -> torch.device:
    if declared.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(declared.device)
    except RuntimeError as error:
        raise ModelUnfit(declared.name, f"no such device: {declared.device!r}") from error
    if device.type not in {"cpu", "cuda"}:
        raise ModelUnfit(declared.name, f"no model runs on device {declared.device!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelUnfit(
            declared.name, f"device {declared.device!r} is declared, and there is none such"
        )
    return device
