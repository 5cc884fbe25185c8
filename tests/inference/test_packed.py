import pytest
import torch
from torch import nn

from inference.models.packed import pack

FAST = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - torch tells by nothing else
TYPES = [
    torch.float32,
    pytest.param(
        torch.bfloat16, marks=pytest.mark.skipif(not FAST, reason="this CPU has no bfloat16")
    ),
]


def a_model(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Linear(96, 192, bias=False), nn.SiLU(), nn.Linear(192, 96))
    return nn.Sequential(nn.LayerNorm(96), inner, nn.Linear(96, 500)).to(dtype).eval()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 16, 100])
@torch.inference_mode()
def test_packed_layers_give_what_the_others_gave(dtype: torch.dtype, rows: int) -> None:
    model = a_model(dtype)
    read = torch.randn(1, rows, 96).to(dtype)
    expected = model(read)
    pack(model)
    found = model(read)
    assert found.dtype is dtype
    torch.testing.assert_close(found, expected)


def test_all_linear_layers_are_packed_however_deep() -> None:
    model = a_model(torch.float32)
    pack(model)
    assert not any(isinstance(layer, nn.Linear) for layer in model.modules())
    assert not any(parameter.ndim > 1 for parameter in model.parameters())  # none is kept twice


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("slots", [5, 16, 24])
@torch.inference_mode()
def test_what_a_row_gets_does_not_depend_on_the_others(dtype: torch.dtype, slots: int) -> None:
    model = a_model(dtype)
    pack(model)
    rows = torch.randn(slots, 96).to(dtype)
    beside_others = model(rows)
    for row in range(slots):
        alone = torch.zeros_like(rows)
        alone[slots - 1 - row] = rows[row]
        assert torch.equal(model(alone)[slots - 1 - row], beside_others[row])
