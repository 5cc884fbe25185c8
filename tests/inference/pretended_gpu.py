"""A GPU where there is none: torch is told of one, and what is put there stays on the CPU.

A tensor there says `cuda:0` of itself and holds real numbers, so that answers can be looked
at. What takes tensors from both devices, or floats of two kinds, is refused, and so is the
slowest kind of attention. Nothing is shown of speed, of memory, of work that goes on by itself,
and of how a GPU's own kernels round.

`pretend` changes torch for good: it is for a process of its own.
"""
# ruff: noqa: SLF001 - it is done from within torch, or not at all

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import torch
from msgspec import Struct
from torch import Tensor
from torch._ops import OpOverload
from torch.backends.cuda import SDPAParams
from torch.nn.attention import bias
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

Operation = OpOverload[..., Any]

_GPU: Final = torch.device("cuda", 0)
_ATEN: Final = torch.ops.aten
_MOVES: Final = ("aten::_to_copy", "aten::copy_")  # between devices, and kinds of numbers
_HALVES: Final = (torch.bfloat16, torch.float16)
_CUDA: Final = 1  # of c10::DeviceType
_REGISTER: Final = (
    "_ZN3c104impl19registerDeviceGuardENS_10DeviceTypeEPKNS0_24DeviceGuardImplInterfaceE"
)

_UNKNOWN: Final = f"torch {torch.__version__} cannot be told of a GPU in the way that 2.13 can"

# a C++ object that answers 0 to whatever it is asked, as how many devices there are
_NOTHING: Final = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
_METHODS: Final = (ctypes.CFUNCTYPE(ctypes.c_int) * 64)(*[_NOTHING] * 64)
_NO_GUARD: Final = ctypes.pointer(_METHODS)


class Unfit(Exception):
    """An operation was given what a GPU does not take, or takes its time for."""


def pretend() -> None:
    """Have torch believe in a GPU, for the rest of this process.

    Raises:
        RuntimeError: this torch cannot be told so.
    """
    _stand_guard()
    new_bias = bias.CausalBias.__new__

    def bias_anywhere(*args: Any) -> Any:
        """It is no more than three numbers, and takes amiss that a mode sees it made."""
        with _disable_current_modes():
            return new_bias(*args)

    told = (
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "set_per_process_memory_fraction", lambda *_: None),
        (torch.cuda, "_lazy_init", lambda: None),
        (bias, "can_use_flash_attention", _flash_takes),
        (bias.CausalBias, "__new__", bias_anywhere),
    )
    for where, name, instead in told:
        setattr(where, name, instead)
    # `.to` of a module otherwise puts what has arrived into the parameter that was on the CPU
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.set_num_threads(1)
    with within():
        if torch.zeros(1).to("cuda").device != _GPU:
            raise RuntimeError(_UNKNOWN)


@contextmanager
def within() -> Iterator[None]:
    """Compute on a machine that has a GPU.

    Raises:
        Unfit: what is computed would fail there, or be slow.
    """
    with _Machine(), _Unpinned():  # type: ignore[no-untyped-call] # torch leaves it so
        yield


class _OnGpu(Tensor):
    """A tensor that says that it is on the GPU."""

    numbers: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment] # as torch's own subclasses

    @staticmethod
    def __new__(cls: type[Self], numbers: Tensor) -> Self:
        # a view of what was made outside of inference mode has to be as if made there too
        with torch.inference_mode(mode=False):
            made: Self = Tensor._make_wrapper_subclass(
                cls,
                numbers.size(),
                strides=numbers.stride(),
                storage_offset=numbers.storage_offset(),
                dtype=numbers.dtype,
                device=_GPU,
            )
        made.numbers = numbers
        return made

    def tolist(self) -> Any:
        """As on a GPU; of subclasses torch itself makes no lists."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Operation, *_: object) -> object:  # type: ignore[override] # likewise
        raise AssertionError(f"{func} on the pretended GPU, and not `within` its machine")


class _Machine(TorchDispatchMode):  # type: ignore[no-untyped-call] # likewise
    """A CPU, and a GPU beside it."""

    def __torch_dispatch__(
        self,
        func: Operation,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        named = {name: value for name, value in (kwargs or {}).items() if name != "pin_memory"}
        leaves = tree_leaves((args, named))
        tensors = [one for one in leaves if isinstance(one, Tensor)]
        device = next((one for one in leaves if isinstance(one, torch.device)), None)
        there = any(isinstance(one, _OnGpu) for one in tensors)
        if not there and (device is None or device.type != "cuda"):
            return func(*args, **named)
        if func is _ATEN.scaled_dot_product_attention.default:
            return _attend(*args, **named)
        if func is _ATEN._scaled_dot_product_flash_attention.default:
            return _attend_to_the_last(*args, **named)
        # in inference mode what is made of other operations arrives whole: `to`, `linear`
        if torch._C._dispatch_has_kernel_for_dispatch_key(func._name, "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **named)
        if func._schema.name not in _MOVES:
            _check(func, tensors)
        found = func(*tree_map(_numbers, args), **tree_map(_numbers, named))
        if device is not None and device.type != "cuda":
            return found
        known = {id(_numbers(one)): one for one in tensors}  # what is changed where it is
        return tree_map(lambda one: known.get(id(one), _there(one)), found)


class _Unpinned(TorchFunctionMode):
    """Memory is not pinned without a driver; `torch.tensor` asks for it where no mode looks."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not torch.tensor:
            return func(*args, **kwargs or {})
        named = dict(kwargs or {})
        device = named.pop("device", None)
        named.pop("pin_memory", None)
        made = func(*args, **named)
        return made if device is None else made.to(device)


def _numbers(one: Any) -> Any:
    """The same on the CPU, if it is a tensor on the GPU, or the GPU itself."""
    if isinstance(one, torch.device):
        return torch.device("cpu")
    return one.numbers if isinstance(one, _OnGpu) else one


def _there(one: Any) -> Any:
    return _OnGpu(one) if isinstance(one, Tensor) else one


def _check(func: object, tensors: Sequence[Tensor]) -> None:
    """Scalars may be anywhere, and of any kind.

    Raises:
        Unfit: the others may not.
    """
    filled = [one for one in tensors if one.dim()]
    if left := [tuple(one.shape) for one in filled if not isinstance(one, _OnGpu)]:
        raise Unfit(f"{func} takes tensors of shapes {left} from the CPU")
    if len(kinds := {str(one.dtype) for one in filled if one.is_floating_point()}) > 1:
        raise Unfit(f"{func} takes {' and '.join(sorted(kinds))}")


class _Attention(Struct):
    """What is asked of `scaled_dot_product_attention`."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


def _attend(*args: Any, **named: Any) -> Tensor:
    _check("attention", [one for one in args if isinstance(one, Tensor)])
    asked = _Attention(*args, **named)
    if not (_flash_takes(asked) or _efficient_takes(asked)):
        raise Unfit("attention takes the slowest of its ways")
    return _laid_out(scaled_dot_product_attention(*map(_numbers, args), **named))


def _attend_to_the_last(
    query: Tensor, key: Tensor, value: Tensor, *how: object, scale: float
) -> tuple[object, ...]:
    """Flash attention's own "causal": the last query looks at the last key."""
    assert how == (0.0, True), "without dropout, and causal"
    _check("attention", [query, key, value])
    asking, asked = query.shape[2], key.shape[2]
    found = scaled_dot_product_attention(
        _numbers(query),
        _numbers(key),
        _numbers(value),
        attn_mask=torch.ones(asking, asked, dtype=torch.bool).tril(asked - asking),
        scale=scale,
        enable_gqa=True,
    )
    nothing = [torch.empty(0)] * 3  # for a backward pass
    return _laid_out(found), *nothing, asking, asked, *nothing


def _laid_out(found: Tensor) -> Tensor:
    """As a GPU's kernels leave it: a token's heads beside each other."""
    return _OnGpu(found.transpose(1, 2).contiguous().transpose(1, 2))


def _flash_takes(asked: _Attention | SDPAParams) -> bool:
    """Whether flash attention does this, on GPUs since 2020. Source: torch's sdp_utils.cpp."""
    heads, groups = asked.query.shape[1], asked.key.shape[1]
    return (
        asked.attn_mask is None
        and asked.query.device.type == "cuda"
        and asked.query.dtype in _HALVES
        and asked.query.shape[3] <= 256
        and not (asked.is_causal and asked.query.shape[2] != asked.key.shape[2])
        and (heads == groups or (asked.enable_gqa and heads % groups == 0))
    )


def _efficient_takes(asked: _Attention) -> bool:
    """Likewise, of memory-efficient attention; that heads share keys is new to it."""
    together = 16 // asked.query.element_size()
    return asked.query.shape[1] == asked.key.shape[1] and asked.query.shape[3] % together == 0


def _stand_guard() -> None:
    """Let C++ go to the GPU and back, without a driver.

    torch has a guard for that, which does nothing, and puts it in place of one that knows of
    no device. A build for CPUs has none at all: so it is given one.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    if not (hasattr(library, _REGISTER) and hasattr(torch._C, "_ensureCUDADeviceGuardSet")):
        raise RuntimeError(_UNKNOWN)
    register = library[_REGISTER]
    register.argtypes, register.restype = (ctypes.c_int8, ctypes.c_void_p), None
    register(_CUDA, ctypes.addressof(_NO_GUARD))
    torch._C._ensureCUDADeviceGuardSet()
