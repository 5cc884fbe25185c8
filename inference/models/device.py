"""Where a model's tensors live; only for modules that import torch anyway."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from events.models import ModelDeclared
from inference.errors import DeviceFull, ModelUnfit


def device_of(declared: ModelDeclared) -> torch.device:
    """The device that a declaration asks for; this process keeps to its share of a GPU's memory.

    Raises:
        ModelUnfit: this machine has none such.
    """
    device = _device(declared)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(declared.limits.gpu_memory, device.index or 0)
    return device


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


@contextmanager
def sparing_memory() -> Iterator[None]:
    """Make a full device everybody's business.

    Raises:
        DeviceFull: instead of torch's own error, which only modules like this one know.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceFull from error


def _device(declared: ModelDeclared) -> torch.device:
    if declared.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(declared.device)
    except RuntimeError as error:
        raise ModelUnfit(declared.name, f"no such device: {declared.device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnfit(declared.name, "device cuda is declared, and there is none")
    return device
