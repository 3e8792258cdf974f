"""Decoding in the host: one result whatever the path and the memory, native VAEs included."""

from types import SimpleNamespace

import pytest
import torch

assert_close = torch.testing.assert_close


@pytest.fixture(scope="module")
def latent():
    return {"samples": torch.randn(5, 4, 6, 8, generator=torch.Generator().manual_seed(0))}


def decode(host, vae, latent, memory=0.0):
    return host.run("PureSVDDecode", vae=vae, samples=latent, memory=memory)[0]


def test_decode_equals_the_one_shot_decode_of_the_core(host, ours, latent):
    whole = ours.vae.first_stage_model.decode(latent["samples"], t=5)
    images = decode(host, ours.vae, latent)
    assert images.shape == (5, 48, 64, 3)
    assert_close(images, (whole.movedim(1, -1) + 1).div(2).clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_every_decode_node_gives_the_same_pixels(host, ours, latent):
    images = decode(host, ours.vae, latent)
    assert torch.equal(host.run("VAEDecode", vae=ours.vae, samples=latent)[0], images)
    tiles = dict(tile_size=64, overlap=16, temporal_size=8, temporal_overlap=4)
    assert torch.equal(host.run("VAEDecodeTiled", vae=ours.vae, samples=latent, **tiles)[0], images)


def test_memory_limit_does_not_change_pixels(host, ours, latent):
    assert_close(
        decode(host, ours.vae, latent, memory=0.25), decode(host, ours.vae, latent), rtol=0, atol=1e-5
    )


def test_too_little_memory_gets_a_sentence(host, ours):
    with pytest.raises(ValueError, match="GiB"):
        decode(host, ours.vae, {"samples": torch.zeros(2, 4, 8, 8)}, memory=0.001)
    with pytest.raises(ValueError, match="memory is nan"):
        decode(host, ours.vae, {"samples": torch.zeros(2, 4, 8, 8)}, memory=float("nan"))


def test_native_video_vae_is_decoded_by_our_exact_decoder(host, ours, native, latent, error):
    assert error(decode(host, native.vae, latent), decode(host, ours.vae, latent)) < 1e-5


def test_other_vaes_are_refused_in_one_sentence(host, latent):
    wide = SimpleNamespace(latent_channels=16, latent_dim=2, first_stage_model=torch.nn.Identity())
    with pytest.raises(ValueError, match="latents of 16 channels"):
        decode(host, wide, latent)
    with pytest.raises(ValueError, match="a Stable Video Diffusion latent is"):
        decode(host, wide, {"samples": torch.zeros(1, 16, 8, 8)})


def test_native_encode_nodes_use_the_native_encoder(host, ours, native, photo, error):
    for node, options in (
        ("VAEEncode", {}),
        ("VAEEncodeTiled", dict(tile_size=64, overlap=16, temporal_size=64, temporal_overlap=8)),
    ):
        found, wanted = (
            host.run(node, vae=vae, pixels=photo, **options)[0]["samples"] for vae in (ours.vae, native.vae)
        )
        assert error(found, wanted) < 1e-5


def test_cancel_stops_a_decode(host, ours, latent):
    import comfy.model_management as mm

    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        decode(host, ours.vae, latent)


def test_decoding_shows_progress(host, ours, latent, monkeypatch):
    """Every step reaches the host's bar, which itself passes on no more than ten a second."""
    import comfy.utils

    seen, real = [], comfy.utils.ProgressBar.update_absolute

    def update(bar, value, total=None, preview=None):
        seen.append((value, bar.total))
        return real(bar, value, total, preview)

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", update)
    decode(host, ours.vae, latent)
    assert [value for value, _ in seen] == list(range(1, seen[-1][1] + 1))
    assert len(seen) > 10


def test_running_out_of_memory_is_tried_again_in_less(host, ours, latent, monkeypatch):
    glue, budgets = host.pack("nodes.host.vae"), []

    def short_of_memory(vae, z, *, memory, real=glue.decode, **kwargs):
        budgets.append(memory)
        if len(budgets) < 3:
            raise torch.OutOfMemoryError("no room")
        return real(vae, z, memory=memory, **kwargs)

    wanted = decode(host, ours.vae, latent)
    monkeypatch.setattr(glue, "decode", short_of_memory)
    assert torch.equal(decode(host, ours.vae, latent), wanted)
    assert budgets[1:] == [budgets[0] // 2, budgets[0] // 4]
    budgets.clear()
    with pytest.raises(torch.OutOfMemoryError):
        decode(host, ours.vae, latent, memory=1.0)
    assert len(budgets) == 1, "a stated limit is kept to"
