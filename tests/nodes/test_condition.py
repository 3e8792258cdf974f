"""A photo to conditioning: layouts, fits, lists, seeds, and the native node's numbers on request."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

assert_close = torch.testing.assert_close
Trio = namedtuple("Trio", "model clip_vision vae")


def test_vector_and_latents_are_those_of_the_core(host, ours, photo, describe):
    clip, conditioning = (
        host.pack("svd_core.models.image_encoder"),
        host.pack("svd_core.conditioning.conditioning"),
    )
    x = host.pack("nodes.convert").pixels(photo)
    frame = host.pack("nodes.convert").fit(x, 64, 64, "crop")
    (positive,), (negative,), (latent,) = describe(ours, photo, augmentation_level=0.0)
    context, entries = positive[0]
    assert_close(context[:, 0], ours.clip_vision.embed(clip.preprocess(frame, 56)))
    assert_close(entries["concat_latent_image"], ours.vae.first_stage_model.encode(frame, native=False))
    assert latent["samples"].shape == (4, 4, 8, 8)
    assert not negative[0][0].any()
    assert not negative[0][1]["concat_latent_image"].any()
    y = ours.model.model.encode_adm(**entries)
    assert_close(y, conditioning.embed(torch.tensor([[6.0, 127.0, 0.0]])))


def test_native_compatibility_gives_the_native_nodes_numbers(host, ours, native, photo, describe, error):
    given = dict(width=64, height=64, motion_bucket_id=127, fps=7, augmentation_level=0.0)
    wanted = host.run(
        "SVD_img2vid_Conditioning",
        clip_vision=native.clip_vision,
        init_image=photo,
        vae=native.vae,
        video_frames=4,
        **given,
    )
    found = describe(ours, photo, compatibility="native", augmentation_level=0.0)
    for (mine,), theirs in zip(found[:2], wanted[:2]):
        assert_close(
            mine[0][0], theirs[0][0], rtol=1e-3, atol=1e-5
        )  # the tower runs on half-precision weights
        mine, theirs = mine[0][1], theirs[0][1]
        latent = mine.pop("concat_latent_image"), theirs.pop("concat_latent_image")
        assert_close(*latent, rtol=1e-4, atol=1e-5)
        assert mine == theirs
    assert_close(found[2][0]["samples"], wanted[2]["samples"])


class Recorder:
    """A VAE of the right shape that keeps the pixels it is given."""

    latent_channels, latent_dim = 4, 2

    def spacial_compression_encode(self):
        return 8

    def encode(self, image):
        self.image = image
        return torch.zeros(1, 4, 8, 8)


def test_native_noise_is_twice_the_reference_noise(ours, photo, describe):
    vae = Recorder()
    deviations = []
    for compatibility in ("native", "reference"):
        images = []
        for level in (0.0, 0.1):
            describe(
                Trio(None, ours.clip_vision, vae),
                photo[:, :64, :64],
                compatibility=compatibility,
                augmentation_level=level,
            )
            images.append(vae.image)
        deviations.append(float((images[1] - images[0]).std()))
    assert deviations[0] == pytest.approx(0.1, rel=0.03)  # of 12288 draws, in units of 0..1
    assert deviations[1] == pytest.approx(deviations[0] / 2, rel=1e-5)


def test_several_images_give_each_single_result(ours, photo, describe):
    images = torch.cat([photo, photo.flip(2), photo * 0.5])
    batch = describe(ours, images)
    assert [len(items) for items in batch] == [3, 3, 3]
    for i, image in enumerate(images.split(1)):
        alone = describe(ours, image)
        assert torch.equal(batch[0][i][0][0], alone[0][0][0][0])
        assert torch.equal(batch[0][i][0][1]["concat_latent_image"], alone[0][0][0][1]["concat_latent_image"])


def test_seed_changes_only_the_augmentation(ours, photo, describe):
    first, again, other = (describe(ours, photo, seed=seed)[0][0][0] for seed in (5, 5, 6))
    assert torch.equal(first[1]["concat_latent_image"], again[1]["concat_latent_image"])
    assert not torch.equal(first[1]["concat_latent_image"], other[1]["concat_latent_image"])
    assert torch.equal(first[0], other[0])


@pytest.mark.parametrize("compatibility", ["reference", "native"])
def test_global_random_state_is_left_alone(ours, photo, describe, compatibility):
    torch.default_generator.manual_seed(1)
    before = torch.get_rng_state()
    describe(ours, photo, compatibility=compatibility)
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_noise_is_not_the_sampling_noise_of_the_same_seed(host):
    encoders, progress = host.pack("nodes.host.encoders"), host.pack("nodes.host.progress")
    noise = [
        torch.randn(8, generator=progress.generator(7, domain))
        for domain in (0, encoders.AUGMENTATION_DOMAIN)
    ]
    assert not torch.equal(*noise)


def test_zeros_take_the_checkpoints_own_sizes(ours, photo, describe):
    positive, _, latent = describe(ours, photo, width=0, height=0, frames=0, fps=0)
    preset = ours.vae.preset
    assert latent[0]["samples"].shape == (preset.frames, 4, preset.height // 8, preset.width // 8)
    assert positive[0][0][1]["fps"] == preset.fps


def test_native_encoders_work_and_know_only_the_base_models_sizes(native, photo, describe):
    _, _, latent = describe(native, photo, frames=0, height=64)
    assert latent[0]["samples"].shape == (14, 4, 8, 8)


def test_other_encoders_are_refused_in_one_sentence(ours, native, photo, describe):
    wide = SimpleNamespace(latent_channels=16, latent_dim=2, spacial_compression_encode=lambda: 8)
    with pytest.raises(ValueError, match="latents of 16 channels"):
        describe(Trio(None, ours.clip_vision, wide), photo)
    with pytest.raises(ValueError, match="not a CLIP image encoder"):
        describe(Trio(None, SimpleNamespace(model_type="siglip"), ours.vae), photo)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_alpha_images_have_a_defined_result(host, channels):
    pixels = host.pack("nodes.convert").pixels
    image = torch.rand(1, 4, 6, channels)
    x = pixels(image)
    assert x.shape == (1, 3, 4, 6)
    assert_close(x[:, 0], image[..., 0] * 2 - 1)
    assert_close(x[:, 1], image[..., 1 if channels > 2 else 0] * 2 - 1)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.rand(1, 4, 6, 5), "5 channels"),
        (torch.rand(4, 6, 3), "shape"),
        (torch.zeros(0, 4, 6, 3), "shape"),
        (torch.full((1, 4, 6, 3), float("nan")), "NaN"),
        (torch.full((1, 4, 6, 3), float("inf")), "infinite"),
        (torch.rand(1, 4, 6, 3) * 65535, "0..1"),
        (torch.rand(1, 4, 6, 3) * 255, "0..1"),
    ],
)
def test_bad_images_get_one_sentence(host, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        host.pack("nodes.convert").pixels(image)


@pytest.mark.parametrize("size", [{"width": 65}, {"height": 100}, {"width": 8}])
def test_sizes_off_the_grid_name_the_nearest_ones(ours, photo, describe, size):
    with pytest.raises(ValueError, match="multiple of 8"):
        describe(ours, photo, **size)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 128), (16, 200)])
def test_every_fit_gives_the_asked_size(host, fit, size):
    convert = host.pack("nodes.convert")
    x = torch.rand(1, 3, 50, 70) * 2 - 1
    assert convert.fit(x, *size, fit).shape == (1, 3, size[1], size[0])


@pytest.mark.parametrize("compatibility", ["reference", "native"])
@pytest.mark.parametrize(
    ("height", "width", "whole"), [(8192, 1, 0), (1, 4, 0), (3, 8192, 0), (1, 1, 1), (2, 100, 1), (100, 2, 1)]
)
def test_photo_of_which_a_crop_leaves_nothing_is_refused(ours, describe, compatibility, height, width, whole):
    image, options = (
        torch.rand(1, height, width, 3),
        {"width": 64, "height": 64, "compatibility": compatibility},
    )
    if whole:
        assert describe(ours, image, **options)[0][0][0][0].isfinite().all()
        return
    with pytest.raises(
        ValueError, match=f"photo of {width}x{height} has next to nothing left when it is cropped to 64x64"
    ):
        describe(ours, image, **options)
    for fit in ("pad", "stretch"):
        assert describe(ours, image, **options, fit=fit)[0][0][0][0].isfinite().all()


def test_crop_keeps_the_centre_and_pad_keeps_everything(host):
    convert = host.pack("nodes.convert")
    x = torch.zeros(1, 3, 64, 128)
    x[..., 32:96] = 1.0
    assert (convert.fit(x, 64, 64, "crop") == 1).all()
    padded = convert.fit(x, 128, 128, "pad")
    assert (padded[..., :32, :] == -1).all()
    assert_close(padded[..., 32:96, :], x)


@pytest.mark.parametrize(
    ("image", "size"), [((300, 100), (1024, 576)), ((100, 300), (576, 1024)), ((90, 100), (768, 768))]
)
def test_nearest_picks_the_trained_aspect(host, image, size):
    assert host.pack("nodes.convert").nearest_size(*image, 1024, 576) == size


def test_nearest_crops_to_that_aspect(ours, photo, describe):
    tall = photo[:, :, :36]
    found = describe(ours, tall, width=128, height=64, fit="nearest")
    wanted = describe(ours, tall, width=64, height=128, fit="crop")
    assert found[2][0]["samples"].shape == (4, 4, 16, 8)
    assert torch.equal(found[0][0][0][1]["concat_latent_image"], wanted[0][0][0][1]["concat_latent_image"])


def test_noise_of_no_number_is_refused(ours, photo, describe):
    with pytest.raises(ValueError, match="augmentation_level is nan"):
        describe(ours, photo, augmentation_level=float("nan"))


@pytest.mark.parametrize("size", [(0, 0), (64, 0), (None, 128), (1024, 576)])
def test_good_sizes_and_wired_ones_pass_validation(host, size):
    assert host.node("PureSVDImageToVideo").validate_inputs(*size) is True


@pytest.mark.parametrize(("size", "said"), [((8, 64), "width 8 is not"), ((64, 100), "height 100 is not")])
def test_bad_sizes_are_refused_before_anything_is_loaded(host, size, said):
    assert host.node("PureSVDImageToVideo").validate_inputs(*size).startswith(said)


def test_photos_noise_stays_the_same_from_run_to_run(host):
    """Only the sampler's seed changes by itself: another run is another video of the same photo."""
    seed = next(i for i in host.node("PureSVDImageToVideo").define_schema().inputs if i.id == "seed")
    assert seed.as_dict()["control_after_generate"] == "fixed"
    assert seed.as_dict()["advanced"]
