"""Weights in the order in which a CPU multiplies with them."""

from typing import Final

import torch
from torch import Tensor, nn

ROWS: Final = 16  # of the products that the order is best for: a step's, not a long reading's


class Packed(nn.Module):
    """A linear layer, after loading; oneDNN else puts its weights in order for every product."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)  # noqa: SLF001 - torch.compile packs by these two, and there is no other way to
        self._bias = linear.bias

    def forward(self, read: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``, as `nn.Linear` does."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - as above
            read, self._weight, self._bias, "none", [], ""
        )
        return product


@torch.inference_mode()
def pack(model: nn.Module) -> None:
    """Replace all linear layers of a model; for bfloat16 on a CPU: in float32 it gains nothing."""
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, Packed(child))
        else:
            pack(child)
