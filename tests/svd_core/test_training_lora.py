"""A LoRA under training: what is trained and saved, and the mistakes that public SVD trainers make."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core.adapters.change import change
from svd_core.adapters.lora import read
from svd_core.adapters.names import Layers
from svd_core.checkpoint.load import load
from svd_core.checkpoint.read import read as read_checkpoint
from svd_core.conditioning.conditioning import embed
from svd_core.control import motion
from svd_core.models.image_encoder import preprocess
from svd_core.models.ops import runs_bfloat16
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import SCALE
from svd_core.training import adapt, films, lora, statistics
from svd_core.training.camera import motion_bucket
from svd_core.training.loop import Run, Training
from tests.make_checkpoint import unet_config, write_checkpoint
from tests.svd_core.references import randomized

T = 3


def sources(t=T, h=8, w=8, **changes):
    g = torch.Generator().manual_seed(0)
    given = dict(
        z=torch.randn(t, 4, h, w, generator=g),
        token=torch.randn(16, generator=g),
        first=torch.rand(3, 8 * h, 8 * w, generator=g) * 2 - 1,
        fps=7.0,
        bucket=80.0,
    )
    return films.Clip(**given | changes)


def seen_by(loss):
    """The pixels that the loss encodes, in their order."""
    pixels = []

    def encoder(x):
        pixels.append(x)
        return x[:, :1, ::8, ::8].expand(-1, 4, -1, -1)

    loss.encode = encoder
    return pixels


def batches(draw, count, **changes):
    loss = films.FilmLoss([sources(**changes)], draw, lambda x: x)
    pixels = seen_by(loss)
    return [loss.batch(np.random.default_rng(i)) for i in range(count)], pixels, loss


PLAIN = films.Draw(dropout=0.0)


def test_only_the_chosen_layers_are_trained_and_nothing_changes_at_first():
    unet, before = randomized(VideoUNet(unet_config())), randomized(VideoUNet(unet_config()))
    names = lora.attach(unet, parts=("temporal attention",), rank=4)
    assert all("time_stack" in name and "attn" in name for name in names)
    assert not [name for name in names if "attn2.to_q" in name or "attn2.to_k" in name], (
        "these have no effect"
    )
    trained = {n for n, p in unet.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{half}" for name in names for half in ("up", "down")}
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(T, 8, 8, 8, generator=g), torch.randn(T, 768, generator=g)
    given = (x, torch.full((T,), 0.3), torch.randn(T, 1, 16, generator=g), y)
    with torch.no_grad():
        assert torch.equal(unet(*given, t=T), before(*given, t=T))


def test_saved_lora_is_applied_as_it_was_trained(tmp_path):
    """Its layers reach the loader's, and the change is the one that the network computed with."""
    unet = randomized(VideoUNet(unet_config()))
    shapes = {name: tuple(t.shape) for name, t in unet.state_dict().items()}
    names = lora.attach(unet, parts=lora.TRAINABLE, rank=2)
    for name in names:
        torch.nn.init.normal_(unet.get_submodule(name).up)
    parameters = {n: p for n, p in unet.named_parameters() if p.requires_grad}
    from svd_core.checkpoint.write import write_safetensors

    write_safetensors(tmp_path / "made.safetensors", lora.tensors(parameters))
    found = read(tmp_path / "made.safetensors", Layers(shapes))
    assert set(found.layers) == set(names)
    for name in names:
        layer, size = unet.get_submodule(name), shapes[f"{name}.weight"]
        merged = copy.deepcopy(layer.base).requires_grad_(False)
        merged.weight += change(found.layers[name], size)
        x = torch.randn(2, size[1], *((6, 5) if len(size) > 2 else ()))
        assert torch.allclose(layer(x), merged(x), atol=2e-4 * float(merged(x).std())), name


def test_condition_latent_is_not_scaled_and_target_is():
    (batch,), pixels, _ = batches(PLAIN, 1)
    assert torch.equal(batch.concat, pixels[0][:, :1, ::8, ::8].expand(-1, 4, -1, -1))
    frames = torch.rand(T, 3, 64, 64) * 2 - 1
    clip = films.encode(
        frames,
        fps=7,
        bucket=1,
        image_size=56,
        vae_encoder=lambda x: x[:, :1, ::8, ::8].expand(-1, 4, -1, -1),
        image_encoder=lambda x: x.mean((2, 3)),
    )
    assert torch.allclose(clip.z[:, 0], frames[:, 0, ::8, ::8] * SCALE)


def test_condition_is_the_first_frame_and_the_image_encoder_sees_it_normalised_once():
    frames, seen = torch.rand(T, 3, 64, 64) * 2 - 1, []

    def image_encoder(x):
        seen.append(x)
        return torch.zeros(1, 4)

    clip = films.encode(
        frames,
        fps=7,
        bucket=1,
        image_size=56,
        vae_encoder=lambda x: x[:, :1, ::8, ::8],
        image_encoder=image_encoder,
    )
    assert torch.equal(clip.first, frames[0])
    assert torch.equal(seen[0], preprocess(frames[:1], 56))


def test_vector_holds_fps_less_one_the_clips_bucket_and_its_own_noise_level():
    found, pixels, loss = batches(PLAIN, 40, fps=12.0, bucket=33.0)
    levels = []
    for batch, noisy in zip(found, pixels):
        level = float((noisy - loss.clips[0].first).std())
        best = min(
            (float((embed(torch.tensor([[11.0, 33.0, s]])) - batch.vector).norm()), s) for s in (level, 0.02)
        )
        assert torch.equal(batch.vector[:, :512], embed(torch.tensor([[11.0, 33.0, 0.0]]))[:, :512])
        levels.append(level)
        assert best[0] < 0.5
    assert len(set(levels)) == len(levels), "drawn anew for each clip"
    assert np.log(levels).mean() == pytest.approx(-3.0, abs=0.3)
    assert np.log(levels).std() == pytest.approx(0.5, abs=0.2)


def test_noise_levels_are_log_normal(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        films, "error", lambda unet, batch, sigma, noise: (drawn.append(sigma), noise.mean())[1]
    )
    loss = films.FilmLoss([sources(h=1, w=1)], films.Draw(P_mean=0.7), lambda x: x[:, :1, ::8, ::8])
    for i in range(400):
        loss(None, np.random.default_rng(i), 0)
    logs = np.log(drawn)
    assert logs.mean() == pytest.approx(0.7, abs=0.25)
    assert logs.std() == pytest.approx(1.6, abs=0.2)


def test_one_noise_level_serves_a_clip_and_each_frame_has_noise_of_its_own(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        films, "error", lambda unet, batch, sigma, noise: seen.update(n=noise, s=sigma) or noise.mean()
    )
    films.FilmLoss([sources()], PLAIN, lambda x: x[:, :1, ::8, ::8])(None, np.random.default_rng(0), 0)
    assert isinstance(seen["s"], float)
    assert not torch.equal(seen["n"][0], seen["n"][1])


def test_dropout_takes_token_latent_or_both_alike():
    found, _, _ = batches(films.Draw(dropout=0.1), 1500)
    kinds = [(not bool(b.token.any()), not bool(b.concat.any())) for b in found]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares[True, False] == pytest.approx(0.1, abs=0.03)
    assert shares[True, True] == pytest.approx(0.1, abs=0.03)
    assert shares[False, True] == pytest.approx(0.1, abs=0.03)


def test_frames_are_cropped_and_never_squashed():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 256), indexing="ij")
    made = films.crop(torch.stack([x, y, x])[None], height=64, width=64)
    assert made.shape == (1, 3, 64, 64)
    assert float(made[0, 0].max()) < 0.55, "the sides are cut off"
    assert float(made[0, 1].max()) > 0.9, "top and bottom are not"


def test_error_is_that_of_the_paper_on_the_denoised_clip():
    """(1 + s²)/s² |D - z|² for D = c_skip x + c_out F."""
    batch, sigma = batches(PLAIN, 1)[0][0], 1.7
    noise = torch.randn(batch.z.shape, generator=torch.Generator().manual_seed(1))
    F_x = torch.randn(batch.z.shape, generator=torch.Generator().manual_seed(2))
    found = films.error(lambda *a, **kw: F_x, batch, sigma, noise)
    D = (batch.z + sigma * noise) / (sigma**2 + 1) - sigma / (sigma**2 + 1) ** 0.5 * F_x
    wanted = (1 + sigma**2) / sigma**2 * (D - batch.z).square().mean()
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


def test_watched_errors_use_the_same_noise_each_time():
    loss = films.FilmLoss([sources()], films.Draw(), lambda x: x[:, :1, ::8, ::8].expand(-1, 4, -1, -1))
    unet = randomized(VideoUNet(unet_config()))
    a, b = films.watch(unet, loss), films.watch(unet, loss)
    assert a == b
    assert list(a) == ["0.1", "0.5", "2", "10", "50", "200"]


def test_saved_memory_changes_no_gradient():
    loss = films.FilmLoss([sources()], PLAIN, lambda x: x[:, :1, ::8, ::8].expand(-1, 4, -1, -1))
    grads = []
    for saving in (False, True):
        unet = randomized(VideoUNet(unet_config()))
        name, *_ = lora.attach(unet, parts=("temporal attention",), rank=2)
        if saving:
            lora.save_memory(unet)
        loss(unet, np.random.default_rng(0), 0)[0].backward()
        grads.append(unet.get_submodule(name).up.grad)
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-7)
    assert grads[0].any()


def test_rank_is_what_the_layer_has_room_for():
    unet = VideoUNet(unet_config())
    for name in lora.attach(unet, parts=("convolutions",), rank=99):
        layer = unet.get_submodule(name)
        room = min(layer.base.weight.shape[0], layer.base.weight[0].numel())
        assert len(layer.down) == layer.up.shape[1] == min(99, room)


def test_choices_that_cannot_be_trained_are_refused():
    unet = VideoUNet(unet_config())
    with pytest.raises(ValueError, match="'mixers' cannot be trained; choose among"):
        lora.attach(unet, parts=("mixers",), rank=2)
    with pytest.raises(ValueError, match="no clips to train on"):
        films.FilmLoss([], PLAIN, lambda x: x)


@pytest.fixture
def folder(tmp_path):
    """Two clips of a picture that moves by one and by two pixels a frame."""
    g = np.random.default_rng(0)
    wide = np.kron(g.integers(0, 255, (12, 16, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    for speed in (1, 2):
        place = tmp_path / "clips" / f"speed{speed}"
        place.mkdir(parents=True)
        for i in range(T):
            Image.fromarray(wide[16:80, 16 + speed * i : 80 + speed * i]).save(place / f"{i}.png")
    return tmp_path


def test_command_trains_resumes_and_writes_a_lora_that_fits(folder):
    model = write_checkpoint(folder / "tiny.safetensors", dtype=torch.float32)
    command = [
        "--clips",
        str(folder / "clips"),
        "--out",
        str(folder / "made.safetensors"),
        "--model",
        str(model),
    ]
    command += ["--frames", str(T), "--rank", "2", "--lr", "1e-2", "--batch", "1"]
    told = []
    adapt.run([*command, "--steps", "2"], shipped=model, on_step=None, say=told.append)
    assert "speed2" in told[1]
    assert any("parameters trained; at least" in line for line in told)
    assert any("error at noise level 10: " in line and "before" in line for line in told)
    unet = read_checkpoint(model).unet
    found = read(folder / "made.safetensors", Layers({n: tuple(t.shape) for n, t in unet.items()}))
    assert all(layer.rank == 2 for layer in found.layers.values())
    assert any(layer.tensors["up"].any() for layer in found.layers.values()), "nothing was learned"
    steps = []
    adapt.run(
        [*command, "--steps", "3"],
        shipped=model,
        on_step=lambda i, n, facts: steps.append(i),
        say=told.append,
    )
    assert steps == [3], "it goes on where it stopped"
    assert (folder / "made-curves.png").is_file()


def test_bucket_follows_the_movement_of_each_clip(folder):
    model = write_checkpoint(folder / "tiny.safetensors", dtype=torch.float32)
    svd = load(read_checkpoint(model), dtype=torch.float32)
    args = adapt.options(
        ["--clips", str(folder / "clips"), "--out", "x", "--frames", str(T), "--fps", "1"], shipped=model
    )
    slow, fast = adapt.gather(svd, args, lambda text: None)
    assert slow.bucket == pytest.approx(motion_bucket(4.0, fps=1), rel=0.3)  # one of 64 pixels is four of 256
    assert fast.bucket == pytest.approx(motion_bucket(8.0, fps=1), rel=0.3)
    args.bucket = 50.0
    assert [clip.bucket for clip in adapt.gather(svd, args, lambda text: None)] == [50.0, 50.0]


def test_statistics_of_a_folder_are_those_of_its_latents(folder, capsys):
    model = write_checkpoint(folder / "tiny.safetensors", dtype=torch.float32)
    svd = load(read_checkpoint(model), dtype=torch.float32)
    command = ["--clips", str(folder / "clips"), "--model", str(model), "--frames", str(T)]
    args = adapt.options([*command, "--out", "x"], shipped=model)
    z = torch.stack([clip.z for clip in adapt.gather(svd, args, lambda text: None)])
    out = folder / "mine.safetensors"
    assert statistics.main([*command, "--out", str(out)], shipped=model) == 0
    assert "2 clips are few" in capsys.readouterr().err
    found = motion.read_statistics(out, tuple(z.shape[1:]))
    torch.testing.assert_close(found.mean, z.mean(0))
    assert found.variance == pytest.approx(float(z.var(0, unbiased=False).mean()), rel=1e-4)
    assert statistics.main([*command, "--frames", "500", "--out", str(out)], shipped=model) == 1
    assert "has 0 clips of 500 frames; make at least 2" in capsys.readouterr().err


def test_wrong_commands_get_one_sentence(folder):
    command = ["--clips", str(folder / "clips"), "--out", "x"]
    with pytest.raises(ValueError, match="width 100 is not a multiple of 64; use 64"):
        adapt.options([*command, "--width", "100"], shipped=folder)
    with pytest.raises(ValueError, match="rank 0 is not above 0"):
        adapt.options([*command, "--rank", "0"], shipped=folder)
    with pytest.raises(ValueError, match="is not a folder"):
        adapt.sources(folder / "nothing")


def test_condition_noise_is_not_that_of_the_target(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        films, "error", lambda unet, batch, sigma, noise: seen.update(n=noise) or noise.mean()
    )
    loss = films.FilmLoss([sources(h=64, w=64, first=torch.zeros(3, 64, 64))], PLAIN, lambda x: x)
    pixels = seen_by(loss)
    loss(None, np.random.default_rng(0), 0)
    noisy = pixels[0][0].flatten()
    for target in seen["n"].flatten(1):
        both = torch.stack([noisy[: 3 * 64 * 64], target[: 3 * 64 * 64]])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.05


def test_clips_of_a_step_have_noise_levels_of_their_own(tmp_path, monkeypatch):
    """Both those of the target and those of the condition, which is a part of what the network is told."""
    levels, told = [], []

    def error(unet, batch, sigma, noise):
        levels.append(sigma)
        told.append(batch.vector)
        return unet.weight.square().sum()

    monkeypatch.setattr(films, "error", error)
    loss = films.FilmLoss([sources(h=1, w=1)], PLAIN, lambda x: x[:, :1, ::8, ::8])
    run = Run("lora", steps=1, lr=1e-3, parts=4, bf16=False)
    Training(torch.nn.Linear(1, 1), run, tmp_path / "state").advance(loss)
    assert len(set(levels)) == 4
    assert len({tuple(v.flatten().tolist()) for v in told}) == 4


def test_attention_that_overflows_half_precision_trains(tmp_path):
    """The NaN of fp16 attention: scores beyond 65504, adapters in float32, the rest in bfloat16 at most."""
    unet = randomized(VideoUNet(unet_config()))
    for name, p in unet.named_parameters():
        if name.endswith(("to_q.weight", "to_k.weight")):
            p.data *= 1e4
    names = lora.attach(unet, parts=("temporal attention",), rank=2)
    loss = films.FilmLoss([sources()], PLAIN, lambda x: x[:, :1, ::8, ::8].expand(-1, 4, -1, -1))
    scores = []
    q, k = (next(n for n in names if n.endswith(f"attn1.{end}")) for end in ("to_q", "to_k"))
    for name in (q, k):
        unet.get_submodule(name).register_forward_hook(
            lambda m, a, out: scores.append(float(out.detach().abs().max()))
        )
    training = Training(unet, Run("lora", steps=1, lr=1e-3, bf16=runs_bfloat16()), tmp_path / "state")
    assert np.isfinite(training.advance(loss)["loss"])
    assert scores[0] * scores[1] > 65504, "half precision would have held it"
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in training.parameters.values())


def test_training_moves_adapters_and_never_the_checkpoint(tmp_path):
    unet, before = randomized(VideoUNet(unet_config())), randomized(VideoUNet(unet_config())).state_dict()
    lora.attach(unet, parts=("temporal attention",), rank=2)
    loss = films.FilmLoss([sources()], PLAIN, lambda x: x[:, :1, ::8, ::8].expand(-1, 4, -1, -1))
    training = Training(unet, Run("lora", steps=2, lr=1e-2, bf16=False), tmp_path / "state")
    training.advance(loss)
    after = {name.replace(".base.", "."): t for name, t in unet.state_dict().items()}
    assert all(torch.equal(after[name], t) for name, t in before.items())
    assert any(bool(p.any()) for name, p in training.parameters.items() if name.endswith(".up"))
