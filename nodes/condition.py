"""A photo to conditioning and an empty clip."""

from comfy_api.latest import io

from . import convert, inputs
from .host import encoders, trained
from .host.say import say


class PureSVDImageToVideo(inputs.Sized, io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDImageToVideo",
            display_name="Image to Video Conditioning (SVD)",
            category="video/svd",
            description="Describe a photo to the video model as in training: the image encoder sees the "
            "whole frame, the encoder sees it with a little seeded noise. Several images give several "
            "videos, one after the other.",
            search_aliases=[
                "svd",
                "img2vid",
                "SVD_img2vid_Conditioning",
                "stable video diffusion conditioning",
            ],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The image encoder of the video checkpoint."),
                io.Vae.Input(
                    "vae", tooltip="The VAE of the video checkpoint; it also knows the trained sizes."
                ),
                io.Image.Input("image", tooltip="The first frame. A batch makes one video per image."),
                *inputs.size_inputs(),
                *inputs.motion_inputs(),
                *_photo_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive", is_output_list=True, tooltip="The photo, per video."
                ),
                io.Conditioning.Output(
                    display_name="negative", is_output_list=True, tooltip="The same without it."
                ),
                io.Latent.Output(
                    display_name="latent", is_output_list=True, tooltip="An empty clip per video."
                ),
                io.Float.Output(
                    display_name="fps",
                    tooltip="Frames per second of natural speed, for Create Video and Interpolate Frames.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip_vision,
        vae,
        image,
        width,
        height,
        frames,
        motion_bucket_id,
        fps,
        augmentation_level,
        seed,
        fit,
        compatibility,
    ) -> io.NodeOutput:
        preset, assumed = trained.of_video(vae, clip_vision)
        notes = say(assumed) if 0 in (width, height, frames, fps) else None
        x = convert.pixels(image)
        frame = encoders.frame(x, width or preset.width, height or preset.height, fit)
        convert.check_finite(augmentation_level=augmentation_level)
        numbers = encoders.Numbers(motion_bucket_id, fps or preset.fps, augmentation_level)
        encode = encoders.COMPATIBILITY[compatibility]
        videos = [encode(clip_vision, vae, row, frame, numbers, seed) for row in x.split(1)]
        latents = [convert.empty_latent(frames or preset.frames, frame.width, frame.height) for _ in videos]
        positives, negatives = ([pair[i] for pair in videos] for i in (0, 1))
        return io.NodeOutput(positives, negatives, latents, float(numbers.fps), ui=notes)


def _photo_inputs():
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFF_FFFF_FFFF_FFFF,
            control_after_generate=io.ControlAfterGenerate.fixed,
            advanced=True,
            tooltip="Which noise is put on the photo. The noise that the video starts from has its own seed.",
        ),
        inputs.fit_input(),
        io.Combo.Input(
            "compatibility",
            options=["reference", "native"],
            default="reference",
            tooltip="reference: as trained. native: the numbers of ComfyUI's own SVD node (centre crop for "
            "the image encoder, its encoder, noise of twice the stated level), so that old graphs keep their "
            "look.",
        ),
    ]
