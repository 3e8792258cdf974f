"""Where these nodes and the native ones differ, both run side by side; the docs/native.md links here."""

import pytest
import torch

SIZE = dict(width=64, height=64, motion_bucket_id=127, fps=7)


def native_condition(host, native, photo, level, frames=4):
    return host.run(
        "SVD_img2vid_Conditioning",
        clip_vision=native.clip_vision,
        init_image=photo,
        vae=native.vae,
        video_frames=frames,
        augmentation_level=level,
        **SIZE,
    )


def encoded(conditioning):
    return conditioning[0][1]["concat_latent_image"]


def test_native_augmentation_depends_on_what_ran_before_and_ours_on_its_seed(
    host, native, ours, photo, describe
):
    first, second = (encoded(native_condition(host, native, photo, 0.1)[0]) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (encoded(describe(ours, photo, augmentation_level=0.1)[0][0]) for _ in range(2))
    assert torch.equal(first, second)


def test_native_batch_of_photos_becomes_one_video_and_ours_several(host, native, ours, photo, describe):
    two = torch.cat([photo, photo.flip(2)])
    positive, _, latent = native_condition(host, native, two, 0.0)
    assert len(positive) == 1
    assert latent["samples"].shape[0] == 4
    assert [len(items) for items in describe(ours, two)] == [2, 2, 2]


def test_native_node_fails_on_alpha_with_augmentation_and_ours_does_not(host, native, ours, photo, describe):
    transparent = torch.cat([photo, torch.ones_like(photo[..., :1])], -1)
    with pytest.raises(RuntimeError, match="size of tensor"):
        native_condition(host, native, transparent, 0.1)
    with_alpha, without = (
        encoded(describe(ours, x, augmentation_level=0.1)[0][0]) for x in (transparent, photo)
    )
    assert torch.equal(with_alpha, without)


def test_native_decode_changes_with_free_memory_and_ours_does_not(host, native, ours, error):
    """The native VAE splits the clip by what is free, and its temporal layers then see only a part."""
    z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def decode(vae, bytes_a_frame):
        kept, vae.memory_used_decode = vae.memory_used_decode, lambda shape, dtype: bytes_a_frame
        frames = host.run("VAEDecode", vae=vae, samples={"samples": z})[0]
        vae.memory_used_decode = kept
        return frames

    plenty, scarce = 1, 1 << 60
    assert error(decode(native.vae, scarce), decode(native.vae, plenty)) > 1e-3
    assert torch.equal(decode(ours.vae, scarce), decode(ours.vae, plenty))


def test_native_preview_shows_the_first_frame_and_ours_all(host, native, ours, monkeypatch):
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sizes = []
    for model in (native.model, ours.model):
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        sizes.append(previewer.decode_latent_to_preview(z).size)
    assert sizes == [(8, 8), (2 * 8 + 1, 2 * 8 + 1)]
