"""Attention for texts of any lengths, laid one behind the other in one row.

transformers' own attention works on rows that are padded to the longest, and copies
every text's keys and values when one joins, leaves or grows. Here each text has a
cache of its own; nobody is padded, and leaving is letting go.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

NAME: Final = "tollgate"  # as `attn_implementation`

_FIRST: Final = 64  # positions that a cache begins with; it doubles


class Cache:
    """The keys and values of one text, in every layer."""

    def __init__(self) -> None:
        self.length = 0  # tokens that count; what is written beyond is written again
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}  # each [heads, positions, size]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put n tokens behind those that count; they count once `length` says so.

        Args:
            layer: Which.
            keys: ``[heads, n, size]``.
            values: Likewise.

        Returns:
            All keys and all values, the new ones included: ``[heads, length + n, size]``.
        """
        heads, new, size = keys.shape
        until = self.length + new
        if layer not in self._layers:
            empty = keys.new_empty(heads, 0, size)
            self._layers[layer] = (empty, empty)
        old = self._layers[layer]
        room = old[0].shape[1]
        if room < until:
            room = max(until, 2 * room, _FIRST)
            grown = (keys.new_empty(heads, room, size), values.new_empty(heads, room, size))
            for larger, smaller in zip(grown, old, strict=True):
                larger[:, : self.length] = smaller[:, : self.length]
            self._layers[layer] = grown
        all_keys, all_values = self._layers[layer]
        all_keys[:, self.length : until] = keys
        all_values[:, self.length : until] = values
        return all_keys[:, :until], all_values[:, :until]


class Span(Struct, frozen=True):
    """The tokens ``[start, stop)`` of the row are the next of one text."""

    cache: Cache
    start: int
    stop: int


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: object,
    *,
    scaling: float,
    spans: Sequence[Span],
    **_: Any,  # noqa: ANN401 - what transformers passes to every implementation
) -> tuple[Tensor, None]:
    """Let each token attend to its own text up to itself.

    Args:
        module: The layer's attention; it knows its `layer_idx`.
        query: ``[1, heads, N, size]``.
        key: ``[1, fewer heads, N, size]``, where groups of heads share one.
        value: Likewise.
        scaling: Of the products.
        spans: Whose tokens they are; what lies behind the last of them is padding.

    Returns:
        ``[1, N, heads, size]``, zeros for padding; and None, for weights that nobody wants.
    """
    layer: Any = module.layer_idx
    found = []
    for span in spans:
        at = slice(span.start, span.stop)
        keys, values = span.cache.write(layer, key[0, :, at], value[0, :, at])
        found.append(_attend_one(query[:, :, at], keys[None], values[None], scaling))
    together = torch.cat(found, dim=1)
    return pad(together, (0, 0, 0, 0, 0, query.shape[2] - together.shape[1])), None


def _attend_one(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """The last n positions of a text, ``[1, heads, n, size]``; gives ``[1, n, heads, size]``."""
    _, heads, new, size = query.shape
    groups, positions = keys.shape[1:3]
    if new == 1:  # heads that share keys become rows of one product, and nothing is repeated
        one = query.reshape(1, groups, heads // groups, size)
        return scaled_dot_product_attention(one, keys, values, scale=scaling).view(
            1, 1, heads, size
        )
    known = positions - new
    mask = None
    if known:
        mask = query.new_ones((new, positions), dtype=torch.bool).tril(known)
    return scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=heads != groups,
    ).transpose(1, 2)


AttentionInterface.register(NAME, attend)
