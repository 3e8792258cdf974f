"""ControlNets for SVD: sizes of the published files, the network against its parts,
and which files are refused.
"""

import pytest
import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D
from torch import nn

from svd_core.adapters.controlnet import sort
from svd_core.checkpoint.convert import unet_to_diffusers
from svd_core.checkpoint.presets import Hints
from svd_core.models.configs import UNetConfig
from svd_core.models.controlnet import ControlNet, factors
from svd_core.models.controlnext import ControlNeXt, inject
from svd_core.models.hooks import Hooks
from svd_core.models.unet import VideoUNet
from tests.make_checkpoint import unet_config
from tests.svd_core.references import randomized, relative_error

RELEASED = UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)
TINY = unet_config()
HINTS = Hints(head_dim=TINY.head_dim, unet_norm_groups=TINY.norm_groups)


def published(network):
    """Tensors under the names of the published files."""
    own = {name: t for name, t in network.state_dict().items() if name.startswith("controlnet_")}
    encoder = {name: t for name, t in network.state_dict().items() if name not in own}
    return {**unet_to_diffusers(encoder)[0], **own}


def arguments(t=3):
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(t, 8, 8, 8, generator=g), torch.randn(t, 768, generator=g)
    return (
        x,
        torch.randn(t, 3, 64, 64, generator=g),
        torch.full((t,), 0.4),
        torch.randn(t, 1, 16, generator=g),
        y,
    )


def test_networks_have_the_sizes_of_the_published_files():
    network = ControlNet(RELEASED, device="meta")
    assert sum(p.numel() for p in network.parameters()) == 682_021_537
    assert len(network.state_dict()) == 671
    assert sum(p.numel() for p in ControlNeXt(device="meta").parameters()) == 3_526_400


def test_published_files_are_read_and_taken_whole():
    found = sort(published(ControlNet(RELEASED, device="meta")), "file")
    assert found.kind == "ControlNet"
    assert len(found.tensors) == 671
    assert not found.unknown
    assert found.build(device="meta").state_dict().keys() == found.tensors.keys()
    next_ = sort(ControlNeXt(device="meta").state_dict(), "file")
    assert (next_.kind, next_.unknown) == ("ControlNeXt", [])


def test_skips_count_as_often_as_levels_follow():
    """A list added once after each of four levels: by hand, level by level."""
    counts = [0] * 12
    for there in (4, 7, 10, 12):  # skips that exist after each level
        for i in range(there):
            counts[i] += 1
    assert factors(RELEASED, "as trained") == counts == [4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1]
    assert factors(RELEASED, "once") == [1] * 12


class Recorded(Hooks):
    def __init__(self):
        self.skips, self.middle = [], None

    def after_input(self, h):
        self.skips.append(h)
        return h, h

    def after_middle(self, h):
        self.middle = h
        return h


@torch.no_grad()
def test_residuals_are_the_convolved_skips_of_the_unet():
    unet = randomized(VideoUNet(TINY))
    network = randomized(ControlNet(TINY), seed=1)
    network.load_state_dict(unet.state_dict(), strict=False)
    nn.init.zeros_(network.controlnet_cond_embedding.conv_out.weight)
    nn.init.zeros_(network.controlnet_cond_embedding.conv_out.bias)
    x, hint, c_noise, context, y = arguments()
    seen = Recorded()
    unet(x, c_noise, context, y, t=3, hooks=seen)
    residuals, middle = network(x, hint, c_noise, context, y, t=3)
    wanted = [conv(skip) for conv, skip in zip(network.controlnet_down_blocks, seen.skips, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(residuals, wanted, strict=True))
    assert torch.equal(middle, network.controlnet_mid_block(seen.middle))


@torch.no_grad()
def test_hint_joins_after_the_first_convolution_at_an_eighth_of_its_size():
    network = randomized(ControlNet(TINY))
    x, hint, c_noise, context, y = arguments()
    features = network.controlnet_cond_embedding(hint)
    assert features.shape == (3, TINY.model_channels, 8, 8)
    first, _ = network(x, hint, c_noise, context, y, t=3)
    joined = network.input_blocks[0][0](x) + features
    assert torch.allclose(first[0], network.controlnet_down_blocks[0](joined), atol=1e-5)


class Reference(nn.Module):
    """ControlNeXt-SVD v2 put together from the blocks of diffusers, as its authors did."""

    def __init__(self):
        super().__init__()
        self.time_proj, self.time_embedding = Timesteps(128, True, 0), TimestepEmbedding(128, 256)
        layers = [nn.Conv2d(3, 64, 3, stride=2, padding=1), nn.GroupNorm(2, 64), nn.ReLU()]
        layers += [nn.Conv2d(64, 64, 3), nn.GroupNorm(2, 64), nn.ReLU()]
        self.embedding = nn.Sequential(*layers, nn.Conv2d(64, 128, 3), nn.GroupNorm(2, 128), nn.ReLU())
        sizes = ((128, 128, 4), (128, 256, 8))
        self.down_res = nn.ModuleList(
            ResnetBlock2D(in_channels=i, out_channels=o, temb_channels=256, groups=g) for i, o, g in sizes
        )
        self.down_sample = nn.ModuleList(
            Downsample2D(o, use_conv=True, out_channels=o, padding=1, name="op") for _, o, _ in sizes
        )
        middle = [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.GroupNorm(8, 256)]
        middle += [nn.Conv2d(256, 256, 3, padding=1), nn.GroupNorm(8, 256)]
        self.mid_convs = nn.ModuleList([nn.Sequential(*middle), nn.Conv2d(256, 320, 1)])

    def forward(self, hint, c_noise):
        emb = self.time_embedding(self.time_proj(c_noise))
        h = self.embedding(hint)
        for res, down in zip(self.down_res, self.down_sample):
            h = down(res(h, emb))
        return self.mid_convs[1](self.mid_convs[0](h) + h)


@torch.no_grad()
def test_controlnext_equals_its_blocks_in_diffusers():
    ours, theirs = randomized(ControlNeXt()), Reference()
    theirs.load_state_dict(ours.state_dict())
    hint, c_noise = (
        torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0.3, -1.2]),
    )
    assert relative_error(ours(hint, c_noise), theirs(hint, c_noise)) < 1e-5


def test_joined_features_have_the_mean_and_deviation_of_what_they_join():
    g = torch.Generator().manual_seed(0)
    h, features = 3 + 2 * torch.randn(2, 4, 6, 6, generator=g), 50 + 9 * torch.randn(2, 4, 6, 6, generator=g)
    added = inject(h, features, 1.0) - h
    for axis in (h, added):
        assert axis.mean((1, 2, 3)).allclose(h.mean((1, 2, 3)), atol=1e-4)
        assert axis.std((1, 2, 3)).allclose(h.std((1, 2, 3)), rtol=1e-4)
    assert torch.equal(inject(h, features, torch.tensor([0.0, 0.2]))[0], h[0])
    assert inject(h, torch.nn.functional.pad(features, (0, 5, 0, 3)), 1.0).shape == h.shape


def broken(change):
    tensors = published(ControlNet(TINY, device="meta"))
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (broken(lambda t: t.pop("controlnet_mid_block.weight")), "missing (controlnet_mid_block.weight"),
        (
            broken(lambda t: t.pop("controlnet_down_blocks.1.weight")),
            "lacks a usable controlnet_down_blocks.1.weight",
        ),
        (
            broken(lambda t: t.update({"conv_in.bias": torch.empty(7)})),
            "in a wrong shape (conv_in.bias: [7] instead of [32])",
        ),
        (
            {"controlnet_cond_embedding.conv_in.weight": torch.empty(1)},
            "image ControlNet, without layers over time",
        ),
        ({"input_hint_block.0.weight": torch.empty(1)}, "image ControlNet of Stable Diffusion"),
        ({"a.lora_up.weight": torch.empty(1)}, "is a LoRA"),
        (unet_to_diffusers(VideoUNet(TINY, device="meta").state_dict())[0], "is a U-Net"),
        ({"x": torch.empty(1)}, "is not a ControlNet (its tensors: x)"),
        ({}, "its tensors: none at all"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tensors, told):
    with pytest.raises(ValueError, match="file") as caught:
        sort(tensors, "file", HINTS)
    assert told in str(caught.value)
    assert "choose" in str(caught.value)
    assert "\n" not in str(caught.value)
