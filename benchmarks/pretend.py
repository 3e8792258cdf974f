"""A CUDA device that is not there: torch's fake tensors have its shapes, layouts and dtypes, and no data.

`device()` makes torch believe in it, `Count` writes down what is run on it. Attention is one operator that
reads its three inputs and writes its result as a fused kernel does, alike for every implementation.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "cuda:0"
LAYOUT_COPY = 2**20  # bytes from which a copy that only reorders memory is counted
UNSEEN = {"prim.device", "aten._unsafe_view", "aten.detach", "aten.alias", "aten.lift_fresh"}
EMPTY = {"aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty", "aten.new_empty_strided"}
ASKS = {"aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.masked_select", "aten._unique2"}


@torch.library.custom_op("puresvd_rehearsal::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """b heads n d -> the same shape, in the memory order n heads d of fused kernels; only pretended."""
    raise NotImplementedError("attention is counted here, not computed; run it on a pretended device")


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if any(x.stride(-1) != 1 for x in (q, k, v)):
        raise ValueError("a fused kernel takes no attention whose last axis is strided; make it contiguous")
    b, heads, n, _ = q.shape
    return q.new_empty(b, n, heads, v.shape[-1]).transpose(1, 2)


class _Attention(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention:
            return attention(*args[:3])
        return func(*args, **(kwargs or {}))


@contextmanager
def device() -> Iterator[None]:
    """Tensors made inside may be on `DEVICE`; mixing devices raises as on a real one."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


class Count(TorchDispatchMode):
    """Kernels, the bytes they touch, memory, copies and waits of what runs inside.

    A kernel touches each tensor that it is given or makes once, broadcast axes not at all; views and
    allocations are free, as is whatever happens inside a kernel, such as a convolution's change of layout.
    """

    def __init__(self, says: bool = False) -> None:
        """`says` answers what is asked of values on the CPU, such as whether noise is to be added."""
        super().__init__()
        self.says = says
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.layout_copies = self.casts = self.waits = 0
        self.held = self.peak = 0  # bytes of what was made inside, on the device
        self.wide = 0  # elements of the largest float32 tensor among them
        self._storages: dict[int, int] = {}

    @property
    def operators(self) -> int:
        return sum(self.kernels.values())

    @property
    def touched(self) -> int:
        return sum(self.bytes.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.replace("::", ".")
        given = {id(x): x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        if name in ASKS and any(x.is_cuda for x in given.values()):
            self.waits += 1
        if name == "aten._local_scalar_dense":
            return _answer(args[0], self.says)
        result = func(*args, **kwargs)
        made = {id(x): x for x in tree_leaves(result) if isinstance(x, Tensor) and id(x) not in given}
        if func.is_view or name in UNSEEN:
            return result
        for x in made.values():
            self._hold(x)
        self._note(name, given, made)
        if name in ("aten.clone", "aten._to_copy") and made:
            self._copied(args[0], result, kwargs.get("non_blocking", False))
        if name == "aten.copy_":
            self._copied(args[1], result, args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        return result

    def _note(self, name: str, given: dict[int, Tensor], made: dict[int, Tensor]) -> None:
        if name in EMPTY or not any(x.is_cuda for x in (given | made).values()):
            return
        self.kernels[name] += 1
        self.bytes[name] += sum(map(extent, (given | made).values()))

    def _copied(self, source: Tensor, target: Tensor, non_blocking: bool) -> None:
        if source.device != target.device:  # one that does not block is staged, towards the device
            self.waits += not (non_blocking and target.is_cuda)
        if not (source.is_cuda or target.is_cuda):
            return
        if source.dtype != target.dtype:
            self.casts += 1
        elif source.device == target.device and extent(target) >= LAYOUT_COPY:
            self.layout_copies += source.stride() != target.stride()

    def _hold(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        if not x.is_cuda or storage._cdata in self._storages:
            return
        key, size = storage._cdata, storage.nbytes()
        self.wide = max(self.wide, x.numel() if x.dtype == torch.float32 else 0)
        self._storages[key] = size
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.held -= self._storages.pop(key)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """A module whose parameters and buffers, of any kind, are on the pretended device from now on."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, x in held.items():
                if x is not None:
                    y = torch.empty(x.shape, dtype=x.dtype, device=DEVICE)
                    is_parameter = isinstance(x, torch.nn.Parameter)
                    held[name] = torch.nn.Parameter(y, requires_grad=False) if is_parameter else y
    return module


def extent(x: Tensor) -> int:
    """Bytes of the distinct elements: an axis of stride 0 is one element."""
    elements = 1
    for size, stride in zip(x.shape, x.stride()):
        elements *= size if stride else min(size, 1)
    return elements * x.element_size()


def _answer(x: Tensor, says: bool) -> bool | int | float:
    """What a program is told that asks for a value: on the device yes, all is finite; on the CPU `says`."""
    constant = getattr(x, "constant", None)
    if constant is not None:
        return constant.item()
    return x.is_cuda or says if x.dtype == torch.bool else 1.0 if x.dtype.is_floating_point else 1


def counted(run: Callable[[], Any], *, says: bool = False) -> Count:
    """What one run does, whose result is on the device; `says` is that of `Count`."""
    with torch.no_grad(), _Attention():
        with Count(says) as count:
            result = run()
        stray = [x for x in tree_leaves(result) if isinstance(x, Tensor) and x.device != torch.device(DEVICE)]
    if stray:
        raise RuntimeError(f"a result is on {stray[0].device}, not on the pretended {DEVICE}")
    return count
