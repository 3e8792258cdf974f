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

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.layout_copies = self.casts = self.waits = 0
        self.held = self.peak = 0  # bytes of what was made inside, on the device
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
            return _answer(args[0])
        result = func(*args, **kwargs)
        made = {id(x): x for x in tree_leaves(result) if isinstance(x, Tensor) and id(x) not in given}
        if func.is_view or name in UNSEEN:
            return result
        for x in made.values():
            self._hold(x)
        self._note(name, given, made, [x for x in tree_leaves(result) if isinstance(x, Tensor)])
        return result

    def _note(self, name: str, given: dict[int, Tensor], made: dict[int, Tensor], out: list[Tensor]) -> None:
        if name in EMPTY or not any(x.is_cuda for x in (given | made).values()):
            return
        self.kernels[name] += 1
        self.bytes[name] += sum(map(extent, (given | made).values()))
        if name in ("aten.clone", "aten.copy_", "aten._to_copy"):
            source = next(reversed(given.values())) if name == "aten.copy_" else next(iter(given.values()))
            self._copied(source, out[0])

    def _copied(self, source: Tensor, target: Tensor) -> None:
        self.waits += source.is_cuda and not target.is_cuda
        if source.dtype != target.dtype:
            self.casts += 1
        elif source.device == target.device and extent(target) >= LAYOUT_COPY:
            self.layout_copies += 1

    def _hold(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        if not x.is_cuda or storage._cdata in self._storages:
            return
        key, size = storage._cdata, storage.nbytes()
        self._storages[key] = size
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.held -= self._storages.pop(key)


def extent(x: Tensor) -> int:
    """Bytes of the distinct elements: an axis of stride 0 is one element."""
    elements = 1
    for size, stride in zip(x.shape, x.stride()):
        elements *= size if stride else min(size, 1)
    return elements * x.element_size()


def _answer(x: Tensor) -> bool | int | float:
    """What a program is told that asks for a value: on the device yes, all is finite; elsewhere no; one."""
    constant = getattr(x, "constant", None)
    if constant is not None:
        return constant.item()
    return x.is_cuda if x.dtype == torch.bool else 1.0 if x.dtype.is_floating_point else 1


def counted(run: Callable[[], Any]) -> Count:
    """What one run does, and whose result is on the device."""
    with torch.no_grad(), _Attention():
        with Count() as count:
            result = run()
        stray = [x for x in tree_leaves(result) if isinstance(x, Tensor) and x.device != torch.device(DEVICE)]
    if stray:
        raise RuntimeError(f"a result is on {stray[0].device}, not on the pretended {DEVICE}")
    return count
