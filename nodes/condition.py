"""A photo to conditioning and an empty clip."""

from comfy_api.latest import io

from . import convert
from .host import encoders, trained
from .host.say import say

FITS = ["crop", "pad", "stretch", "nearest"]
TRAINED = "0 takes the checkpoint's own"


class PureSVDImageToVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDImageToVideo",
            display_name="Image to Video",
            category="video/svd",
            description="Describe a photo to the video model as in training: the image encoder sees the whole "
            "frame, the encoder sees it with a little seeded noise. Several images give several "
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
                *_size_inputs(),
                *_motion_inputs(),
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
                    tooltip="Frames per second of natural speed, for Create Video and Interpolate Video.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, width, height) -> bool | str:
        """Refuse a size before anything is loaded; a value that is wired in is None here and checked later."""
        try:
            convert.check_size(width or convert.GRID * 2, height or convert.GRID * 2)
        except ValueError as error:
            return str(error)
        return True

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
        width, height = width or preset.width, height or preset.height
        if fit == "nearest":
            width, height = convert.nearest_size(x.shape[-1], x.shape[-2], width, height)
            fit = "crop"
        convert.check_size(width, height)
        if fit == "crop":
            convert.check_crop(x.shape[-1], x.shape[-2], width, height)
        convert.check_finite(augmentation_level=augmentation_level)
        numbers = encoders.Numbers(motion_bucket_id, fps or preset.fps, augmentation_level)
        frame = encoders.Frame(width, height, fit)
        encode = encoders.COMPATIBILITY[compatibility]
        videos = [encode(clip_vision, vae, row, frame, numbers, seed) for row in x.split(1)]
        latents = [convert.empty_latent(frames or preset.frames, width, height) for _ in videos]
        positives, negatives = ([pair[i] for pair in videos] for i in (0, 1))
        return io.NodeOutput(positives, negatives, latents, float(numbers.fps), ui=notes)


def _size_inputs():
    return [
        io.Int.Input(
            "width",
            default=0,
            min=0,
            max=4096,
            step=8,
            tooltip=f"Width of the video in pixels, a multiple of 8; {TRAINED} (1024 for svd and svd_xt).",
        ),
        io.Int.Input(
            "height",
            default=0,
            min=0,
            max=4096,
            step=8,
            tooltip=f"Height of the video in pixels, a multiple of 8; {TRAINED} (576 for svd and svd_xt).",
        ),
        io.Int.Input(
            "frames",
            default=0,
            min=0,
            max=1024,
            tooltip=f"Length in frames; {TRAINED} (14 for svd, 25 for svd_xt). Longer clips drift from the "
            f"photo.",
        ),
    ]


def _motion_inputs():
    return [
        io.Int.Input(
            "motion_bucket_id",
            default=127,
            min=0,
            max=1023,
            tooltip="Amount of motion to ask for, no unit: higher is more. 127 is the default of training, "
            "above 255 was never trained.",
        ),
        io.Int.Input(
            "fps",
            default=0,
            min=0,
            max=240,
            tooltip=f"Frames per second the motion is meant for; {TRAINED} (7). Lower means larger steps between frames. "
            "The model is told fps - 1; meant for 6 to 31. The playback speed is set in Create Video.",
        ),
        io.Float.Input(
            "augmentation_level",
            default=0.02,
            min=0.0,
            max=10.0,
            step=0.01,
            round=0.001,
            tooltip="Noise on the encoded photo, standard deviation where white is 1 and black is -1. "
            "Reference 0.02, trained about 0.02 to 0.14; more lets the video leave the photo further.",
        ),
    ]


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
        io.Combo.Input(
            "fit",
            options=FITS,
            default="crop",
            tooltip="How the photo fills the frame. crop: cut the sides; pad: black bars; stretch: distort; "
            "nearest: crop to the nearest of landscape, portrait and square at the trained area.",
        ),
        io.Combo.Input(
            "compatibility",
            options=["reference", "native"],
            default="reference",
            tooltip="reference: as trained. native: the numbers of ComfyUI's own SVD node (centre crop for "
            "the image encoder, its encoder, noise of twice the stated level), so that old graphs keep "
            "their look.",
        ),
    ]
