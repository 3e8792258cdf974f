"""An object to SV3D's conditioning, in the real host: the reference's angles,
and the host's own numbers on request.
"""

import math

import pytest
import torch

assert_close = torch.testing.assert_close
FRAMES = 4


@pytest.fixture(scope="module")
def sv3d(load):
    return load("sv3d_p.safetensors", kind="sv3d_p")


@pytest.fixture(scope="module")
def circle(host, sv3d, photo):
    """circle(**changes) -> positive, negative, latent, photo"""

    def run(**changes):
        given = {
            "clip_vision": sv3d.clip_vision,
            "vae": sv3d.vae,
            "image": photo,
            "ratio": 0.9,
            "size": 64,
            "frames": FRAMES,
            "orbit": "static",
            "elevation": 10.0,
            "amplitude": 15.0,
            "waves": 1,
            "direction": "anticlockwise",
            "azimuths": "",
            "elevations": "",
            "seed": 1,
            "compatibility": "reference",
        }
        return host.run("PureSVDImageToOrbit", **{**given, **changes})

    return run


def test_vectors_are_made_of_the_references_angles(host, sv3d, circle):
    """Sinusoids of the augmentation, of 80 degrees from the top, and of the way around."""
    positive, negative, latent, _ = circle()
    y = sv3d.model.model.encode_adm(**positive[0][1], noise=latent["samples"])
    sinusoid = host.pack("svd_core.models.unet_blocks").sinusoid
    polar = torch.full((FRAMES,), math.radians(80.0))
    around = torch.tensor([90.0, 180.0, 270.0, 0.0]).deg2rad()
    wanted = torch.cat(
        [sinusoid(torch.full((FRAMES,), 1e-5), 256), sinusoid(polar, 512), sinusoid(around, 512)], 1
    )
    assert_close(y, wanted, rtol=0, atol=1e-5)
    assert y.shape == (FRAMES, 1280)
    assert torch.equal(y, sv3d.model.model.encode_adm(**negative[0][1], noise=latent["samples"]))
    assert not negative[0][0].any()
    assert not negative[0][1]["concat_latent_image"].any()


def test_native_compatibility_gives_the_hosts_own_bytes(host, sv3d, circle, photo):
    wanted = host.run(
        "SV3D_Conditioning",
        clip_vision=sv3d.clip_vision,
        init_image=photo,
        vae=sv3d.vae,
        width=64,
        height=64,
        video_frames=FRAMES,
        elevation=7.0,
    )
    found = circle(compatibility="native", elevation=7.0)
    for mine, theirs in zip(found[:2], wanted[:2]):
        assert torch.equal(mine[0][0], theirs[0][0])
        assert mine[0][1].keys() == theirs[0][1].keys()
        for name, value in theirs[0][1].items():
            same = (
                torch.equal(mine[0][1][name], value) if torch.is_tensor(value) else mine[0][1][name] == value
            )
            assert same, name
    assert torch.equal(found[2]["samples"], wanted[2]["samples"])


def test_native_compatibility_takes_grey_photos(circle, photo):
    grey = photo[..., :1]
    mine, theirs = (
        circle(compatibility="native", image=x)[0][0] for x in (grey, grey.expand(*grey.shape[:-1], 3))
    )
    assert torch.equal(mine[0], theirs[0])
    assert torch.equal(mine[1]["concat_latent_image"], theirs[1]["concat_latent_image"])


def test_the_object_is_cut_out_by_mask_or_alpha(circle, photo):
    mask = torch.zeros(1, 72, 96)
    mask[:, 20:50, 30:70] = 1
    *_, shown = circle(mask=mask)
    assert torch.equal(shown[0, 0, 0], torch.ones(3))
    assert torch.equal(circle(image=torch.cat([photo, mask[..., None]], -1))[3], shown)


def test_lists_and_waves_say_where_the_camera_stands(circle):
    positive, _, latent, _ = circle(orbit="list", azimuths="90, 180\n0", elevations="5")
    assert positive[0][1]["azimuth"] == [90, 180, 0]
    assert positive[0][1]["elevation"] == [5, 5, 5]
    assert len(latent["samples"]) == 3
    positive, *_ = circle(orbit="wave", direction="clockwise")
    assert positive[0][1]["azimuth"] == [270, 180, 90, 0]
    assert positive[0][1]["elevation"][-1] == 10
    assert positive[0][1]["elevation"][0] == pytest.approx(25)


@pytest.mark.parametrize("kind", ["sv3d_u", "sv3d_p"])
def test_an_orbit_is_sampled_and_decoded(host, load, circle, kind):
    trio = load(f"{kind}.safetensors", kind=kind)
    positive, negative, latent, view = circle(clip_vision=trio.clip_vision, vae=trio.vae)
    given = {"seed": 3, "steps": 2, "min_cfg": 1.0, "max_cfg": 2.5, "curve": "triangle", "schedule": "karras"}
    (out,) = host.run(
        "PureSVDSample",
        model=trio.model,
        positive=positive,
        negative=negative,
        latent=latent,
        sampler="euler",
        **given,
    )
    (images,) = host.run("PureSVDDecode", vae=trio.vae, samples=out, memory=0.0)
    assert images.shape == (FRAMES, 64, 64, 3)
    assert images.isfinite().all()
    (restored,) = host.run("PureSVDDecode", vae=trio.vae, samples=out, memory=0.0, last_image=view)
    assert torch.equal(restored[:-1], images[:-1])
    assert torch.equal(restored[-1:], view)
    with pytest.raises(ValueError, match="last_image is 32x64 pixels, the video 64x64"):
        host.run("PureSVDDecode", vae=trio.vae, samples=out, memory=0.0, last_image=view[:, :, :32])


def test_svd_refuses_an_orbit(ours, circle, video):
    positive, negative, latent, _ = circle()
    with pytest.raises(ValueError, match="SV3D orbit"):
        video(ours, None, conditioning=(positive, negative, latent))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"orbit": "list"}, "0 azimuths"),
        ({"orbit": "list", "azimuths": "left"}, "azimuths holds 'left'"),
        ({"orbit": "wave", "elevation": 85.0}, "lower elevation or amplitude"),
        ({"elevation": math.nan}, "elevation is nan"),
        ({"mask": torch.zeros(1, 72, 96)}, "shows no object"),
        ({"size": 100}, "width 100"),
        ({"image": torch.rand(2, 72, 96, 3)}, "2 pictures"),
    ],
)
def test_wrong_orbit_is_refused_in_a_sentence(circle, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        circle(**changes)
