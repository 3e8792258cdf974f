"""Sampling in one node, once or until the video moves as asked."""

from comfy_api.latest import io

from ..svd_core.quality import search
from ..svd_core.quality.measures import measure
from ..svd_core.sampling.samplers import SAMPLERS
from . import convert, widgets
from .host import forecast, trained
from .host import guider as host_guider
from .host import vae as host_vae
from .host.progress import on_step, trying
from .host.say import say
from .ladder import LADDERS, Rungs, as_json, check_ladder
from .validate import offered, verdict


class PureSVDSample(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSample",
            display_name="Sample Video (SVD)",
            category="video/svd",
            description="Denoise a video latent with per-frame guidance. The simple way; for custom samplers "
            "wire Video Guider and Video Noise Levels into SamplerCustomAdvanced.",
            search_aliases=[
                "svd",
                "VideoLinearCFGGuidance",
                "VideoTriangleCFGGuidance",
                "ksampler",
                "sampler",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input(
                    "positive", tooltip="Conditioning with the photo, from Image to Video."
                ),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                io.Latent.Input("latent", tooltip="The empty clip from Image to Video."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFF_FFFF_FFFF_FFFF,
                    control_after_generate=True,
                    tooltip="Which noise to start from. The same seed gives the same noise as native "
                    "samplers, and the same video each time.",
                ),
                widgets.steps_input(),
                *widgets.guidance_inputs(),
                widgets.schedule_input(),
                widgets.sampler_input(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The denoised clip, for Decode Video.")],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, latent, seed, steps, min_cfg, max_cfg, curve, schedule, sampler
    ) -> io.NodeOutput:
        z = convert.latent(latent)
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        preset, notes = trained.of_model(model)
        asked = widgets.AS_TRAINED in (curve, schedule, sampler) or steps == 0
        scales = widgets.frame_scales(preset, min_cfg, max_cfg, curve)
        steps, schedule, sampler = widgets.chosen(preset, steps=steps, schedule=schedule, sampler=sampler)
        levels = widgets.noise_levels(schedule, steps, start=widgets.start_level(latent))
        guider = host_guider.make_guider(model, positive, negative, scales)
        notes = (notes if asked else []) + guider.notes
        shown, method = say(notes), host_guider.sampler(SAMPLERS[sampler])
        callback = forecast.telling(guider, preset.name, z, levels, told_fps(positive), notes)
        out = host_guider.sample(guider, latent, method, levels, seed, callback=callback)
        return io.NodeOutput(out, ui=shown)


# Inputs of Sample Video that Sample Until repeats; what Sample Video gains later comes after these.
SHARED = 11


def goal_inputs():
    return [
        io.Vae.Input("vae", tooltip="The VAE of the checkpoint: each try is decoded to be measured."),
        io.Float.Input(
            "target",
            default=0.03,
            min=0.0,
            max=10.0,
            step=0.001,
            tooltip="Speed in picture widths per second, as Measure Video gives it: at 0.1 the picture moves "
            "by its own width in ten seconds.",
        ),
        io.Combo.Input(
            "goal",
            options=list(search.GOALS),
            default="at least",
            tooltip="Is the target the least speed that is wanted, or the most?",
        ),
        io.Combo.Input(
            "of",
            options=list(search.OF),
            default="all",
            tooltip="What must move: all: the mean of everything; camera: what the whole picture shares; "
            "objects: the fastest of what moves beside the camera.",
        ),
    ]


def try_inputs():
    return [
        io.Int.Input(
            "tries",
            default=4,
            min=1,
            max=16,
            tooltip="Number of videos that are made at most. The first that reaches the target is taken, "
            "else the nearest.",
        ),
        io.Combo.Input(
            "ladder",
            options=LADDERS,
            default="seed",
            tooltip="What changes from try to try. seed: the next seed alone; seed and bucket: the motion "
            "bucket goes towards 255, or towards 1 for at most; seed and start level: sampling starts at "
            "300, 100, 70, 50, which frees motion, so only for at least.",
        ),
        io.Float.Input(
            "fps",
            default=0.0,
            min=0.0,
            max=1000.0,
            step=0.001,
            tooltip="Frames per second at which the clip will play; 0 takes the fps that Image to Video told "
            "the model.",
        ),
    ]


class PureSVDSampleUntil(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSampleUntil",
            display_name="Sample Video Until It Moves (SVD)",
            category="video/svd",
            description="Sample Video again and again, with the next seed, until the video moves as fast as "
            "asked, or as slowly. The first that does is taken; if none does, the nearest. The same graph "
            "gives the same video.",
            search_aliases=["svd", "ksampler", "retry", "motion", "best of", "seed search"],
            inputs=[*PureSVDSample.define_schema().inputs[:SHARED], *goal_inputs(), *try_inputs()],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The denoised clip, for Decode Video."),
                io.Int.Output(display_name="seed", tooltip="The seed of that clip."),
                io.String.Output(
                    display_name="report", tooltip="Whether the target was met, and every try, as JSON."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, goal=None, ladder=None) -> bool | str:
        return verdict(cls, check_ladder, goal=goal, ladder=ladder)

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent,
        seed,
        steps,
        min_cfg,
        max_cfg,
        curve,
        schedule,
        sampler,
        vae,
        target,
        goal,
        of,
        tries,
        ladder,
        fps,
    ) -> io.NodeOutput:
        offered(cls, goal=goal, ladder=ladder)
        convert.latent(latent)
        rungs = Rungs(seed, tries, ladder, goal)
        wanted, decoder = search.Goal(target, of, goal), host_vae.exact(vae)
        rate = fps or told_fps(convert.conditioning("positive", positive))

        def attempt(k):
            trying(k, tries)
            told = (rungs.told(positive, k), rungs.told(negative, k), rungs.started(latent, k))
            drawn = (rungs.seed(k), steps, min_cfg, max_cfg, curve, schedule, sampler)
            out = PureSVDSample.execute(model, *told, *drawn).args[0]
            images = decoder.decode_exact(out["samples"])
            return (out, k), measure(images.movedim(-1, 1), fps=rate, on_step=on_step())

        found = search.search(attempt, wanted, tries=tries)
        out, best = found.found
        return io.NodeOutput(out, rungs.seed(best), as_json(found, wanted, rungs))


def told_fps(positive):
    """The fps that the model was told; the trained 7 where nothing was said."""
    return float(positive[0][1].get("fps") or 7.0)
