"""Reuse of deep features as a patch on a MODEL, through the host's wrappers around a run and its passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...svd_core.sampling.reuse import Network, Pace, Reuse
from . import hold, say, wired
from .hooks import HostHooks

KEY = "puresvd_reuse"


def patch(model, pace: Pace):
    """A clone of the MODEL whose runs reuse features at this pace, and say on this node what that saved."""
    wired.check(model)
    if not hasattr(model.model, "where"):
        raise ValueError("this MODEL is of another loader; wire in the one of Load Video Checkpoint")
    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, partial(around_run, pace, say.listening()))
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, unconditional)
    return clone


def around_run(pace: Pace, listener, executor, noise, latent, sampler, sigmas, *args: Any, **kwargs: Any):
    """One run of any sampler: its own features, let go of at its end however it ends."""
    guider = executor.class_obj
    options = guider.model_options.setdefault("transformer_options", {})
    border = hold.border(guider.model_options)
    reuse = Reuse(pace, sigmas.cpu(), () if border is None else (border,))
    if any("hooks" in entry for entries in guider.conds.values() for entry in entries or ()):
        reuse.refused = "hooks change the weights from step to step"
    options[KEY] = reuse
    try:
        return executor(noise, latent, sampler, sigmas, *args, **kwargs)
    finally:
        options.pop(KEY, None)
        reuse.end()
        if listener is not None:
            server, node = listener
            server.send_progress_text(reuse.report(), node)


def unconditional(executor, model, conds: list, x: Tensor, sigma: Tensor, options: dict) -> list[Tensor]:
    """The host's passes with and without the photo, the latter left out where the pace says so."""
    reuse = options.get("transformer_options", {}).get(KEY)
    if reuse is None or reuse.refused or len(conds) != 2 or None in conds:
        return executor(model, conds, x, sigma, options)
    run: Callable[[list], list[Tensor]] = lambda wanted: executor(model, wanted, x, sigma, options)  # noqa: E731
    return list(reuse.pair(lambda: run([conds[0], None])[0], lambda: tuple(run(conds)), float(sigma.max())))


def reusing(network: Network, options: dict, hooks: HostHooks, shape: tuple[int, ...]) -> Network:
    """The network, or its reuse where this run has one and nothing acts on single blocks."""
    reuse = options.get(KEY)
    if reuse is None:
        return network
    if hooks.patches or hooks.control or any(hooks.replacements.values()):
        reuse.refused = "another node acts on single blocks"
    elif "context_window" in options:
        reuse.refused = "context windows take turns"
    if reuse.refused:
        return network
    kind = (*options.get("cond_or_uncond", ()), *options.get("uuids", ()), *shape)
    return partial(reuse, network, kind)
