"""Our diffusers folder against the real diffusers and transformers classes, with their outputs."""

import pytest
import torch

from svd_core.checkpoint.header import open_tensors
from svd_core.checkpoint.load import load
from svd_core.checkpoint.read import read
from svd_core.checkpoint.write import to_diffusers_folder
from tests.make_checkpoint import unet_config, vae_config, write_checkpoint

from .references import relative_error

UNET = unet_config(channel_mult=(1, 2), attention_levels=(True, False))
VAE = vae_config(
    ch_mult=(1, 2), num_res_blocks=2
)  # diffusers' temporal decoder knows no other number of blocks


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """kind -> (checkpoint, its diffusers folder)"""
    base, made = tmp_path_factory.mktemp("export"), {}
    for kind in ("svd", "svd_image_decoder", "resaved"):
        path = write_checkpoint(
            base / f"{kind}.safetensors", kind=kind, dtype=torch.float32, unet=UNET, vae=VAE
        )
        made[kind] = path, to_diffusers_folder(read(path), base / kind)
    return made


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_folder_read_again_is_the_same_checkpoint(folders):
    path, folder = folders["svd"]
    one, two = read(path), read(folder)
    assert (one.unet_config, one.clip_config, one.preset) == (two.unet_config, two.clip_config, two.preset)
    for name in ("unet", "clip"):
        assert all(tensor.equal(getattr(two, name)[key]) for key, tensor in getattr(one, name).items())
    assert all(tensor.equal(one.vae[key]) for key, tensor in two.vae.items())


def test_diffusers_pipeline_loads_the_folder_whole(folders):
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(folders["svd"][1])
    mine = load(read(folders["svd"][0]))
    count = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters())
        for name in ("unet", "image_encoder")
    }
    assert count["unet"] == sum(p.numel() for p in mine.unet.parameters())
    assert count["image_encoder"] == sum(p.numel() for p in mine.clip.parameters())
    assert pipeline.scheduler.config.sigma_max == 700.0
    assert pipeline.unet.config.num_frames == 4


def test_diffusers_unet_gives_our_result(folders):
    from diffusers import UNetSpatioTemporalConditionModel
    from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock

    path, folder = folders["svd"]
    theirs, mine = UNetSpatioTemporalConditionModel.from_pretrained(folder / "unet"), load(read(path)).unet
    for block in theirs.modules():  # its factories drop the eps of these norms
        if isinstance(block, ResnetBlock2D | TemporalResnetBlock):
            block.norm1.eps = block.norm2.eps = 1e-5
    x, context, ids = (
        noise(1, 2, 8, 8, 8),
        noise(1, 1, UNET.context_dim),
        torch.tensor([[6.0, 127.0, 0.02]]),
    )
    with torch.no_grad():
        expected = theirs(x, torch.tensor(0.3), context, ids).sample[0]
        y = theirs.add_time_proj(ids.flatten()).reshape(1, -1).expand(2, -1)
        found = mine(x[0], torch.full((2,), 0.3), context[0].expand(2, 1, -1), y, t=2)
    assert relative_error(found, expected) < 1e-5  # float32 rounding


@pytest.mark.parametrize("kind", ["svd", "svd_image_decoder", "resaved"])
def test_diffusers_vae_gives_our_result(kind, folders):
    from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder

    path, folder = folders[kind]
    theirs_class = AutoencoderKL if kind == "svd_image_decoder" else AutoencoderKLTemporalDecoder
    theirs, mine = theirs_class.from_pretrained(folder / "vae"), load(read(path)).vae
    image, z = noise(2, 3, 32, 32).clamp(-1, 1), noise(2, 4, 4, 4)
    frames = {} if kind == "svd_image_decoder" else {"num_frames": 2}
    with torch.no_grad():
        encoded = relative_error(mine.encode(image), theirs.encode(image).latent_dist.mode())
        decoded = relative_error(mine.decode(z, t=2), theirs.decode(z, **frames).sample)
    assert max(encoded, decoded) < 1e-5  # float32 rounding


def test_transformers_tower_gives_our_result(folders):
    from transformers import CLIPVisionModelWithProjection

    path, folder = folders["svd"]
    theirs, mine = (
        CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder"),
        load(read(path)).clip,
    )
    x = noise(1, 3, 56, 56)
    with torch.no_grad():
        assert relative_error(mine(x), theirs(x).image_embeds) < 1e-5  # float32 rounding


def test_written_weights_keep_their_bytes(folders):
    path, folder = folders["svd"]
    source, _ = open_tensors(path)
    written, _ = open_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert written["conv_in.weight"].equal(source["model.diffusion_model.input_blocks.0.0.weight"])


def test_what_diffusers_cannot_hold_is_refused(folders, tmp_path):
    orbit = read(write_checkpoint(tmp_path / "sv3d_u.safetensors", kind="sv3d_u"))
    with pytest.raises(ValueError, match="no pipeline for sv3d_u"):
        to_diffusers_folder(orbit, tmp_path / "a")
    with pytest.raises(ValueError, match="is not empty; choose a new folder"):
        to_diffusers_folder(read(folders["svd"][0]), tmp_path)
    groups = write_checkpoint(tmp_path / "g.safetensors", unet=unet_config(norm_groups=16), vae=VAE)
    with pytest.raises(ValueError, match="16 norm groups; diffusers can only have 32"):
        to_diffusers_folder(read(groups), tmp_path / "b")
    with pytest.raises(
        ValueError, match="1 blocks a level; diffusers' temporal decoder can only have 32 and 2"
    ):
        to_diffusers_folder(read(write_checkpoint(tmp_path / "c.safetensors")), tmp_path / "b")
    assert not (tmp_path / "b").exists()
