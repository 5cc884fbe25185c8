"""Where a model's tensors live; only for modules that import torch anyway."""

import torch

from events.models import ModelDeclared
from inference.errors import ModelUnfit


def device_of(declared: ModelDeclared) -> torch.device:
    """The device that a declaration asks for.

    Raises:
        ModelUnfit: this machine has none such.
    """
    if declared.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(declared.device)
    except RuntimeError as error:
        raise ModelUnfit(declared.name, f"no such device: {declared.device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnfit(declared.name, "device cuda is declared, and there is none")
    return device
