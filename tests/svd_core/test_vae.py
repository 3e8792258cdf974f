"""The autoencoder against diffusers on shared weights."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from svd_core.models import ops
from svd_core.models.configs import VAEConfig
from svd_core.models.timeconv import to_frames, to_time
from svd_core.models.upconv import up_conv
from svd_core.models.vae import VAE

from . import references
from .references import relative_error

KEYS = Path(__file__).parent.parent / "data" / "keys"
FULL = dict(ch=128, ch_mult=(1, 2, 4, 4), num_res_blocks=2, z_channels=4, embedder=True)


@pytest.fixture(scope="module")
def pair():
    vae = references.vae()
    return vae, references.diffusers_vae(vae)


def image(n=2, H=64, W=96):
    return torch.rand(n, 3, H, W, generator=torch.Generator().manual_seed(3)) * 2 - 1


@torch.no_grad()
def test_encoder_equals_diffusers(pair):
    ours, theirs = pair
    assert relative_error(ours.encode(image()), theirs.encode(image()).latent_dist.mode()) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("t", [1, 3, 6])
def test_decoder_equals_diffusers(pair, t):
    ours, theirs = pair
    z = torch.randn(6, 4, 8, 12, generator=torch.Generator().manual_seed(4))
    expected = torch.cat([theirs.decode(clip, num_frames=t).sample for clip in z.split(t)])
    assert relative_error(ours.decode(z, t=t), expected) <= 1e-5


@pytest.mark.parametrize(
    ("name", "prefix", "config"),
    [
        (
            "vae",
            "conditioner.embedders.3.encoder.",
            VAEConfig(**FULL, temporal=True, native_encoder=True, quant_conv=False, post_quant_conv=False),
        ),
        (
            "image_decoder_vae",
            "conditioner.embedders.3.encoder.",
            VAEConfig(**FULL, temporal=False, native_encoder=True, quant_conv=True, post_quant_conv=True),
        ),
        (
            "sv3d_vae",
            "conditioner.embedders.1.encoder.",
            VAEConfig(**FULL, temporal=False, native_encoder=False, quant_conv=False, post_quant_conv=False),
        ),
    ],
)
def test_full_width_names_and_shapes(name, prefix, config):
    """Everything in the file is ours but for the embedder's decoder, which no reference uses."""
    lines = (KEYS / f"{name}.tsv").read_text().splitlines()
    column = lines[0].split("\t").index("shape")
    cells = [line.split("\t") for line in lines[1:]]
    released = {c[0]: tuple(int(n) for n in c[column].split("x")) for c in cells}
    unused = {k for k in released if k.startswith((f"{prefix}decoder.", f"{prefix}post_quant_conv."))}
    ours = {
        k.replace("embedder.", prefix, 1) if k.startswith("embedder.") else k: tuple(v.shape)
        for k, v in VAE(config, device="meta").state_dict().items()
    }
    assert ours == {k: v for k, v in released.items() if k not in unused}


@torch.no_grad()
def test_the_two_encoders_are_chosen_as_asked():
    config = VAEConfig(
        ch=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        z_channels=4,
        temporal=True,
        embedder=True,
        native_encoder=True,
        quant_conv=False,
        post_quant_conv=False,
        norm_groups=4,
    )
    vae = references.vae(config)
    x = image()[:1]
    reference, native = vae.encode(x), vae.encode(x, native=True)
    assert relative_error(reference, native) > 0.1
    assert torch.equal(reference, vae.embedder.moments(x)[0])
    assert torch.equal(native, vae.first_stage_model.moments(x)[0])


@torch.no_grad()
def test_images_of_a_batch_are_encoded_apart(pair):
    ours, x = pair[0], image()
    assert torch.equal(ours.encode(x), torch.cat([ours.encode(row) for row in x.split(1)]))
    assert relative_error(ours.encode(x), ours.embedder.moments(x)[0]) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (2, 16, 5, 7), (3, 16, 8, 4)])
def test_an_image_is_convolved_as_if_doubled(shape):
    """The float64 reference doubles first; 1e-6 is float32 rounding."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    layer = up_conv(ops, 16)
    y, doubled = layer(x), F.interpolate(x, scale_factor=2.0, mode="nearest")
    assert (
        relative_error(y, F.conv2d(doubled.double(), layer.weight.double(), layer.bias.double(), padding=1))
        <= 1e-6
    )
    assert y.is_contiguous(memory_format=torch.channels_last)
    half = layer.bfloat16()
    assert torch.equal(half(x.bfloat16()), F.conv2d(doubled.bfloat16(), half.weight, half.bias, padding=1))


@pytest.mark.parametrize("b", [1, 2])
def test_time_is_an_image_axis_of_the_same_memory(b):
    """A clip alone, too, must look channels-last: a convolution copies anything else, twice."""
    x = torch.randn(b * 3, 8, 4, 5).to(memory_format=torch.channels_last)
    y = to_time(x, 3)
    assert y.data_ptr() == x.data_ptr()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y[0, :, 2], x[2].flatten(1))
    assert torch.equal(to_frames(y, 4), x)


@torch.no_grad()
def test_every_frame_depends_on_every_frame(pair):
    z = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    changed = z.clone()
    changed[3] += 1
    assert relative_error(pair[0].decode(changed, t=4)[0], pair[0].decode(z, t=4)[0]) > 1e-4


def test_gradients_reach_the_whole_decoder():
    vae = references.vae().requires_grad_(True)
    vae.decode(torch.randn(2, 4, 4, 4), t=2).square().mean().backward()
    assert all(p.grad is not None for p in vae.first_stage_model.parameters())
