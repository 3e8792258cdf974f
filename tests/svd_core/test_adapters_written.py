"""Files that peft and diffusers write: every layer is found, and the change equals the weights they merge."""

import pytest
import torch

pytest.importorskip("peft")
from svd_core.adapters.change import change  # noqa: E402
from svd_core.adapters.lora import read  # noqa: E402
from svd_core.adapters.names import Layers  # noqa: E402
from svd_core.models.unet import VideoUNet  # noqa: E402
from tests import lora_files  # noqa: E402
from tests.make_checkpoint import random_tensors, unet_config  # noqa: E402

CONFIG = unet_config()


@pytest.fixture(scope="module")
def state():
    network = VideoUNet(CONFIG, device="meta")
    return random_tensors(network, torch.Generator().manual_seed(0), torch.float32)


CASES = [("peft", kind) for kind in lora_files.CONFIGS]
CASES += [(writer, "lora") for writer in ("raw", "diffusers", "kohya")] + [("processor", "attention")]


@pytest.mark.parametrize(("writer", "kind"), CASES)
def test_change_equals_what_the_library_merges(state, tmp_path, writer, kind):
    written = lora_files.write(tmp_path, state, CONFIG, kind=kind, writer=writer)
    layers = Layers({name: tuple(t.shape) for name, t in state.items()})
    lora = read(written.path, layers).exact(state.__getitem__, layers)
    assert len(lora.layers) == written.adapted
    changed = {name for name, t in written.merged.items() if not torch.equal(t, state[name])}
    found = set()
    for module, layer in lora.layers.items():
        name = layers.weight(module)
        delta = change(layer, layers.shapes[name])
        scale = state[name].abs().max()
        assert (state[name] + delta - written.merged[name]).abs().max() < 1e-6 * max(
            1, scale, delta.abs().max()
        )
        found.add(name)
        if "diff_b" in layer.tensors:
            bias = f"{module}.bias"
            assert (state[bias] + layer.tensors["diff_b"] - written.merged[bias]).abs().max() < 1e-6
            found.add(bias)
    assert found == changed
