"""Attention for texts of any lengths, where transformers' own wants one length for all.

Its own pads every text to the longest, and copies all keys and values when one joins,
leaves or grows. Here a text has a row on a shelf of its own width (`cache.py`), and one
product serves all texts of a shelf: few calls matter more than few numbers, since each
call waits for every core. What a text gets does not depend on what is beside it: its
width is its own affair, and rows of a product do not mix.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, Protocol

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from inference.models.causal_lm.cache import Cache, Shelf
from inference.models.device import copied

NAME: Final = "tollgate"  # as `attn_implementation`


class Plan(Protocol):
    """Whose tokens one call of the model is about."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """Let each token attend to its own text up to itself.

        Args:
            layer: Its number.
            query: ``[1, heads, N, size]``.
            key: ``[1, groups, N, size]``: heads of a group share one.
            value: Likewise.
            scaling: Of the products.

        Returns:
            ``[1, N, heads, size]``.
        """


class Reading(Struct, frozen=True):
    """The next N tokens of one text."""

    cache: Cache

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """As `Plan.attend`."""
        keys, values = self.cache.shelf.layer(layer, key, rows=self.cache.row + 1)
        row, known, new = self.cache.row, self.cache.length, query.shape[2]
        until = known + new
        keys[row, :, known:until] = key[0]
        values[row, :, known:until] = value[0]
        return scaled_dot_product_attention(
            query,
            keys[row : row + 1, :, :until],
            values[row : row + 1, :, :until],
            attn_mask=causal_lower_right(new, until),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        ).transpose(1, 2)


class _Rows(Struct, frozen=True):
    """Those of a call's tokens that belong to one shelf."""

    shelf: Shelf
    at: slice  # where they are among the N, n of them
    rows: Tensor  # whose they are: int64 [n]
    positions: Tensor  # and where in these texts: int64 [n]
    mask: Tensor  # what each row of the shelf may look at: 0 or -inf, [up to the last, 1, 1, width]


class Writing:
    """The next token of each of several texts, and padding."""

    def __init__(
        self, caches: Sequence[Cache], *, tokens: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Plan.

        Args:
            caches: Of the first of the tokens, in their order: by `Cache.place`.
            tokens: N; those that are left are padding.
            device: The model's.
            dtype: Likewise.
        """
        self._padding = tokens - len(caches)
        self._shelves = []
        first = 0
        for shelf, found in groupby(caches, key=lambda cache: cache.shelf):
            own = list(found)
            rows, positions = copied(
                [[cache.row for cache in own], [cache.length for cache in own]], device
            )
            # up to its last: those between that are others' see one token, to be a number
            last = positions.new_zeros(1 + max(cache.row for cache in own))
            last[rows] = positions
            hidden = torch.arange(shelf.width, device=device) > last[:, None]
            mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
            mask = mask.masked_fill(hidden, -torch.inf)[:, None, None]
            at = slice(first, first + len(own))
            self._shelves.append(_Rows(shelf, at, rows, positions, mask))
            first += len(own)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float
    ) -> Tensor:
        """As `Plan.attend`; zeros for padding."""
        _, heads, _, size = query.shape
        groups = key.shape[1]
        queries = query[0].transpose(0, 1)  # [N, heads, size]
        new_keys, new_values = key[0].transpose(0, 1), value[0].transpose(0, 1)
        found = []
        for one in self._shelves:
            count = len(one.mask)
            keys, values = one.shelf.layer(layer, key, rows=count)
            keys[one.rows, :, one.positions] = new_keys[one.at]
            values[one.rows, :, one.positions] = new_values[one.at]
            asking = query.new_zeros(count, heads, size)
            asking[one.rows] = queries[one.at]
            # the heads of a group are rows of one product, so that no key is repeated
            answers = scaled_dot_product_attention(
                asking.view(-1, groups, heads // groups, size),
                keys[:count],
                values[:count],
                attn_mask=one.mask,
                scale=scaling,
            )
            # not a view: on a GPU the kernel for masks lays its answers out in another order
            found.append(answers.reshape(-1, heads, size)[one.rows])
        return torch.cat([*found, query.new_zeros(self._padding, heads, size)])[None]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: object,
    *,
    scaling: float,
    plan: Plan,
    **_: Any,  # noqa: ANN401 - what transformers passes to every implementation
) -> tuple[Tensor, None]:
    """Follow a plan, in the form in which transformers calls an implementation."""
    layer: Any = module.layer_idx
    return plan.attend(layer, query, key, value, scaling), None


AttentionInterface.register(NAME, attend)
