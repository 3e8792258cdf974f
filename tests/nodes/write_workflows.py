"""Write workflows/*.json, the editor's format, from the prompts in workflows/api; run with COMFYUI_PATH set.

The prompts are written by hand. What the editor needs beyond them (slots, positions,
the order of widget values) is read from the node classes of the real host.
"""

import asyncio
import importlib
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
API, FOLDER = ROOT / "workflows" / "api", ROOT / "workflows"
HUB = "https://huggingface.co/stabilityai"
MODELS = {
    "svd.safetensors": f"{HUB}/stable-video-diffusion-img2vid",
    "svd_xt.safetensors": f"{HUB}/stable-video-diffusion-img2vid-xt",
    "svd_xt_1_1.safetensors": f"{HUB}/stable-video-diffusion-img2vid-xt-1-1",
    "sv3d_p.safetensors": f"{HUB}/sv3d",
    "AnimateLCM-SVD-xt-1.1.safetensors": "https://huggingface.co/wangfuyun/AnimateLCM-SVD-xt",
    "sd_xl_base_1.0.safetensors": f"{HUB}/stable-diffusion-xl-base-1.0",
}

PARTS = {"AnimateLCM-SVD-xt-1.1.safetensors": "diffusion_models"}  # the others are whole checkpoints
WHOLE = "checkpoints/"  # before a whole checkpoint of which one part is used


@dataclass(frozen=True)
class Group:
    """Nodes under one title and one note, in columns from left to right;
    each is named by its key in the prompt.
    """

    title: str
    note: str
    columns: tuple[str, ...]  # keys with a space between them


@dataclass(frozen=True)
class Graph:
    title: str  # in the template browser, and the file's name
    note: str
    groups: tuple[Group, ...]


TRAINED = "Steps, guidance, schedule and sampler are **as the checkpoint was trained**, whichever it is."
GUIDANCE = "The embedded checkpoint wants no guidance (1.0), svd up to 2.5, svd_xt up to 3."
PHOTO = Group(
    "1  Photo and checkpoint",
    "Choose a **photo**. The **embedded checkpoint** runs everywhere, at 256 x 256. For full quality put "
    "`svd.safetensors` or `svd_xt.safetensors` into `models/checkpoints` and choose it here.",
    ("1 2",),
)
OWN_PHOTO = (
    "Choose a **photo**. This graph needs `{0}` in `models/checkpoints`; the template names where it comes "
    "from."
)
DESCRIBE = Group(
    "2  What the model is told",
    "**0 means: as the checkpoint was trained**, for width, height, frames and fps. Ask for more or less "
    "movement with `motion_bucket_id`. `fps` is told to the model; it does not set how fast the file plays.",
    ("3",),
)
RELEASED = Group(
    DESCRIBE.title,
    "Size, frames and fps are **those the checkpoint was trained with**. Ask for more or less movement with "
    "`motion_bucket_id`. `fps` is told to the model; it does not set how fast the file plays.",
    ("3",),
)
SAMPLE = Group(
    "3  Sample",
    "All frames are denoised together and **play here while they take shape**. Another `seed` is another "
    "video. " + TRAINED,
    ("4",),
)
SAVE = Group(
    "4  Frames to file",
    "**Decode Video (SVD)** gives the same pixels however little memory is free. **Create Video** sets how "
    "fast the file plays: at the `fps` of step 2, which is natural speed.",
    ("5 6 7",),
)
OWN_CHECKPOINT = "For full quality choose `svd.safetensors` or `svd_xt.safetensors`."
MEETS = "The text tells how well the clip meets its pictures."
PLAYS_AT_SEVEN = (
    "**Decode Video (SVD)** gives the same pixels however little memory is free. **Create Video** plays "
    "the file at "
    "7 frames a second, which is natural speed unless `fps` in step 2 says otherwise."
)
GRAPHS = {  # prompt -> graph
    "image_to_video": Graph(
        "Image to Video",
        "# A photo becomes a short video\nChoose a photo, press **Run**. Nothing needs to be downloaded.",
        (PHOTO, DESCRIBE, SAMPLE, SAVE),
    ),
    "image_to_video_svd_14_frames": Graph(
        "Image to Video, svd, 14 frames",
        "# svd: 14 frames, 1024 x 576\nThe first released checkpoint with the values it was trained for.",
        (replace(PHOTO, note=OWN_PHOTO.format("svd.safetensors")), RELEASED, SAMPLE, SAVE),
    ),
    "image_to_video_svd_xt_25_frames": Graph(
        "Image to Video, svd_xt, 25 frames",
        "# svd_xt: 25 frames, 1024 x 576\nThe longer released checkpoint with the values it was trained for.",
        (replace(PHOTO, note=OWN_PHOTO.format("svd_xt.safetensors")), RELEASED, SAMPLE, SAVE),
    ),
    "image_to_video_smooth": Graph(
        "Image to Video, smooth",
        "# Four times the frame rate\n**Interpolate Frames** follows the motion between frames, without any "
        "model file.",
        (
            PHOTO,
            DESCRIBE,
            SAMPLE,
            Group(
                "4  Smooth frames to file",
                "`source_fps` comes from step 2, `target_fps` is what you want to see; it need not be a "
                "multiple. Frames that exist already stay as they are.",
                ("5 8", "6 7"),
            ),
        ),
    ),
    "image_to_video_lora": Graph(
        "Image to Video with LoRA",
        "# A LoRA for movement or style\nChoose a photo and a LoRA, press **Run**.",
        (
            PHOTO,
            Group(
                "2  LoRA",
                "Put a LoRA **trained on the same checkpoint** into `models/loras` and choose it: any naming "
                "is read, and all of it acts or a sentence says why not. The report tells which layers it "
                "changes.",
                ("8",),
            ),
            replace(DESCRIBE, title="3  What the model is told"),
            replace(SAMPLE, title="4  Sample"),
            replace(SAVE, title="5  Frames to file"),
        ),
    ),
    "lead_the_camera": Graph(
        "Lead the Camera",
        "# To the left, up, or not at all\nThe embedded model pans to the right. Its camera "
        "LoRAs lead it elsewhere, alone or two at a time.",
        (
            PHOTO,
            Group(
                "2  Two cameras",
                "Choose where the camera goes. `strength` 0 switches one off, 0.5 and 0.5 **blend** two: "
                "left and up go along the diagonal. These LoRAs belong to svd-nano; yours for svd_xt lie in "
                "`models/loras`.",
                ("8 9",),
            ),
            replace(
                DESCRIBE,
                title="3  What the model is told",
                note="`motion_bucket_id` says **how fast** the camera goes: 60 slowly, 255 at three pixels a "
                "frame.",
            ),
            replace(SAMPLE, title="4  Sample"),
            replace(SAVE, title="5  Frames to file", note=SAVE.note.replace("step 2", "step 3")),
        ),
    ),
    "train_a_lora": Graph(
        "Train a LoRA",
        "# A LoRA of your own\nHere it learns a pan to the left from one photo in minutes. Take clips of "
        "your own, and a released checkpoint on a graphics card, for more.",
        (
            Group(
                "1  Clips",
                "One clip is **drawn here**, a camera that pans over the photo. Put *Load Video* and *Get "
                "Video Components* in its place for clips of your own, one after the other.",
                ("1 2",),
            ),
            Group(
                "2  Train",
                "60 steps show how it goes; **a movement wants hundreds**, and many clips. Cancel ends the "
                "training and keeps what was learned. The report says how much memory it takes.",
                ("3",),
            ),
            Group(
                "3  Keep",
                "The file lands in `output/loras`; put it into `models/loras` for *Load LoRA (SVD)*. The "
                "curve is the loss, which should fall.",
                ("4 5 6",),
            ),
        ),
    ),
    "image_to_video_measured": Graph(
        "Image to Video, measured",
        "# What does the clip do?\n**Measure Video** says how fast it moves, how much of that is the camera, "
        "and what is wrong with it.",
        (
            PHOTO,
            DESCRIBE,
            SAMPLE,
            replace(SAVE, columns=("5 6 7",)),
            Group(
                "5  Numbers and chart",
                "Speed is in **picture widths per second**: at 0.1 the picture moves by its own width in ten "
                "seconds. Under 20 % explained it is not motion. Any frames fit into `images`, also those of "
                "Load Video.",
                ("8 9", "10"),
            ),
        ),
    ),
    "image_to_video_controlnet": Graph(
        "Image to Video with ControlNet",
        "# Depth, lines or a pose for every frame\nA video of pictures steers the movement, the photo gives "
        "the looks.",
        (
            replace(PHOTO, note=OWN_PHOTO.format("svd.safetensors")),
            RELEASED,
            Group(
                "3  ControlNet",
                "Choose a **video of depth maps, lines or poses**, one picture for each frame, and put the "
                "ControlNet for SVD into `models/controlnet`. The first picture should fit the photo.",
                ("8 9 10", "11"),
            ),
            replace(SAMPLE, title="4  Sample"),
            replace(SAVE, title="5  Frames to file"),
        ),
    ),
    "image_to_video_until_it_moves": Graph(
        "Image to Video, until it moves",
        "# A video that moves as fast as asked\nSampled again with other seeds until it does.",
        (
            PHOTO,
            DESCRIBE,
            Group(
                "3  Sample until it moves",
                "`target` is a speed in **picture widths per second**; the embedded checkpoint reaches about "
                "0.08. The first of at most `tries` videos that reaches it is taken, else the nearest; the "
                "text tells which.",
                ("4", "8"),
            ),
            SAVE,
        ),
    ),
    "image_to_video_native_sampler": Graph(
        "Image to Video with Native Sampler",
        "# The same model under ComfyUI's own nodes\nLoading and conditioning are PureSVD's, the rest are "
        "ComfyUI's: KSampler with its samplers, schedulers and patches, and VAE Decode.",
        (
            PHOTO,
            DESCRIBE,
            Group(
                SAMPLE.title,
                "**VideoLinearCFGGuidance** raises guidance from `min_cfg` at the first frame to KSampler's "
                "`cfg` at the last. " + GUIDANCE,
                ("8 4",),
            ),
            replace(
                SAVE,
                note="**VAE Decode** of this VAE is exact as well: no chunks, no flicker between them. "
                "**Create Video** plays the file at the `fps` of step 2, which is natural speed.",
            ),
        ),
    ),
    "image_to_video_custom_sampler": Graph(
        "Image to Video with Custom Sampler",
        "# Sampling in parts\nNoise, guidance, sampler and noise levels are nodes of their own, so each can "
        "be swapped.",
        (
            PHOTO,
            DESCRIBE,
            Group(
                SAMPLE.title,
                "Ten **Align Your Steps** levels do what 25 Karras levels do. Any native sampler fits into "
                "`sampler`. Guidance is **as the checkpoint was trained**.",
                ("8 9 10 11", "4"),
            ),
            SAVE,
        ),
    ),
    "text_to_image_to_video": Graph(
        "Text to Image to Video",
        "# From words to a video\nSDXL draws the picture, svd_xt moves it. Both go into "
        "`models/checkpoints`.",
        (
            Group(
                "1  Draw the picture",
                "Write what you want to see. `sd_xl_base_1.0.safetensors` draws it at the size svd_xt was "
                "trained for; anything that gives an IMAGE can stand here.",
                ("11 14", "12 13", "15 16"),
            ),
            replace(RELEASED, columns=("2 3",)),
            SAMPLE,
            SAVE,
        ),
    ),
    "interpolate_any_video": Graph(
        "Interpolate Any Video",
        "# Any video at any frame rate\nChoose a video, press **Run**. No model file is needed.",
        (
            Group("1  Video", "Choose a **video**. Its frames, sound and rate are taken apart.", ("1 2",)),
            Group(
                "2  New frame rate",
                "`target_fps` is what you want to see; it need not be a multiple. New frames follow the "
                "motion, **scene cuts are not blended**.",
                ("3",),
            ),
            Group(
                "3  Frames to file",
                "The new rate comes out of **Interpolate Frames**, the sound stays.",
                ("4 5",),
            ),
        ),
    ),
}
SWEEP = "**Sweep Values** gives one value after the other, and **what follows runs once for each**. "
GRAPHS |= {
    "image_to_video_more_motion": Graph(
        "Image to Video, more motion",
        "# More motion than the photo gives by itself\nOne slider, from untouched to much more.",
        (
            PHOTO,
            DESCRIBE,
            Group(
                "3  More motion",
                "`strength` 0 changes nothing. More of it starts sampling at a lower noise level, where the "
                "photo is copied less, and **raises the motion bucket**. Too much leaves the photo behind.",
                ("8",),
            ),
            replace(SAMPLE, title="4  Sample"),
            replace(SAVE, title="5  Frames to file"),
        ),
    ),
    "image_to_video_shaped_guidance": Graph(
        "Image to Video, shaped guidance",
        "# Guidance where it helps\nOne scale for each frame and noise level, drawn on the node.",
        (
            replace(PHOTO, note=OWN_PHOTO.format("svd.safetensors")),
            RELEASED,
            Group(
                SAMPLE.title,
                "Here only the levels from `from_level` to `to_level` are guided: **12 of 25 steps cost "
                "half**. The table on **Video Guider (SVD)** shows the scale of every frame and level; grey "
                "rows are not guided.",
                ("8 9", "10 11", "4"),
            ),
            SAVE,
        ),
    ),
    "sweep_motion_bucket": Graph(
        "Sweep the Motion Bucket",
        "# What does motion_bucket_id do?\nOne photo, five values, one sheet.",
        (
            PHOTO,
            Group(
                "2  What the model is told",
                SWEEP
                + "Any number of any node can be swept: wire `value` into it, or `integer` into a whole "
                "number.",
                ("8 3",),
            ),
            replace(SAMPLE, columns=("4 5",)),
            Group(
                "4  Measure and compare",
                "Behind each value stands its **speed in picture widths per second**: at 0.1 the picture "
                "moves by its own width in ten seconds.",
                ("9 10", "11"),
            ),
            Group(
                "5  All at once to file",
                "All values play side by side. `fps` is typed in here: wired to step 2 it would come once "
                "for each value, and so would the file.",
                ("6 7",),
            ),
        ),
    ),
    "sweep_guidance": Graph(
        "Sweep Guidance",
        "# What does guidance do?\nOne photo, five values of max_cfg, one sheet.",
        (
            PHOTO,
            DESCRIBE,
            Group(
                "3  Sweep and sample",
                SWEEP + "`curve` is linear: 1 at the first frame, `max_cfg` at the last. The embedded "
                "checkpoint was trained without guidance; svd wants up to 2.5, svd_xt up to 3.",
                ("8", "4 5"),
            ),
            Group(
                "4  Compare",
                "A row for each value, time to the right. Look for colours that grow too strong and edges "
                "that grow hard.",
                ("10", "11"),
            ),
            replace(
                SAVE, title="5  All at once to file", note="All values play side by side.", columns=("6 7",)
            ),
        ),
    ),
}
GRAPHS |= {
    "image_to_video_8_gb": Graph(
        "Image to Video, 8 GB",
        "# For a card of 8 GB\nsvd_xt at 768 x 432. Both passes of a step run one after the other where they "
        "do not fit at once.",
        (
            replace(PHOTO, note=OWN_PHOTO.format("svd_xt.safetensors")),
            replace(
                RELEASED,
                note="A **smaller frame** than the trained 1024 x 576, and the trained length. The sampler "
                "says what a step takes before it begins.",
            ),
            SAMPLE,
            replace(
                SAVE,
                note="**Decode Video (SVD)** may use 3 GiB: slower, never different. **Create Video** plays "
                "the file at natural speed.",
            ),
        ),
    ),
    "image_to_video_portrait": Graph(
        "Image to Video, portrait",
        "# A phone photo, upright\nsvd_xt at 576 x 1024: the trained number of pixels, turned.",
        (
            replace(PHOTO, note=OWN_PHOTO.format("svd_xt.safetensors")),
            replace(
                RELEASED,
                note="Width and height are **swapped**, so that an upright photo keeps its height. `nearest` "
                "in `fit` chooses by itself, as in the other templates.",
            ),
            SAMPLE,
            SAVE,
        ),
    ),
    "image_to_video_svd_xt_1_1": Graph(
        "Image to Video, svd_xt_1_1, 25 frames",
        "# svd_xt_1_1: 25 frames, 1024 x 576\nsvd_xt made steadier: trained on at 6 frames a second and "
        "motion bucket 127.",
        (
            replace(PHOTO, note=OWN_PHOTO.format("svd_xt_1_1.safetensors")),
            replace(RELEASED, note=RELEASED.note.split(" Ask")[0] + " Keep `motion_bucket_id` near 127."),
            SAMPLE,
            SAVE,
        ),
    ),
    "image_to_video_animatelcm": Graph(
        "Image to Video, AnimateLCM, 4 steps",
        "# Four steps\nAnimateLCM's U-Net needs no more; VAE and image encoder come from svd_xt.",
        (
            replace(
                PHOTO,
                note="Choose a **photo**. The U-Net goes into `models/diffusion_models`, "
                "`svd_xt.safetensors` into `models/checkpoints`; the template names where both come from.",
            ),
            RELEASED,
            SAMPLE,
            SAVE,
        ),
    ),
    "image_to_video_finished": Graph(
        "Image to Video, finished",
        "# From raw frames to a clip to keep\nSteady light, colours of the photo, a smooth rate, and a "
        "record of how it was made.",
        (
            PHOTO,
            DESCRIBE,
            SAMPLE,
            Group(
                "4  Finish",
                "**Remove Flicker** first, then the **photo's colours**, then the new rate: each works on "
                "what the one before left. The record lets `scripts/replay.py` make the clip again.",
                ("5 8 9", "10 11", "6 7"),
            ),
        ),
    ),
}
FOLLOW = Group(
    "4  Follow and sample",
    "**Follow Clip** holds the guide clip while the layout is decided, then lets go. `loose` leaves the model"
    " more room, `strict` less. " + TRAINED,
    ("9 4",),
)
GRAPHS |= {
    "camera_pan": Graph(
        "Camera Pan",
        "# The camera pans to the left\nThe move is drawn first, then the model redraws it with what the "
        "photo does not show.",
        (
            PHOTO,
            Group(
                "2  Move the camera",
                "Choose the **move** and how far it goes; 0 is its own amount. `frames` must be the video's: "
                "14 for the embedded checkpoint and svd, 25 for svd_xt. Dolly and orbit need a depth map.",
                ("8",),
            ),
            replace(
                DESCRIBE,
                title="3  What the model is told",
                note="The photo comes from the move. A low `motion_bucket_id`, 17 to 40, lets the guide clip "
                "decide.",
            ),
            FOLLOW,
            replace(SAVE, title="5  Frames to file", note=SAVE.note.replace("step 2", "step 3")),
        ),
    ),
    "drag": Graph(
        "Drag",
        "# Draw what moves\nDraw on the photo, in the node: **drag** to move a part, **click** to pin a "
        "point, then press **Run**.",
        (
            PHOTO,
            Group(
                "2  Draw the motion",
                "Drag over a part, or draw its **outline** first and pull the arrow. What plays here is the "
                "guide clip. `frames` must be the video's: 14 for the embedded checkpoint and svd, 25 for "
                "svd_xt.",
                ("8",),
            ),
            replace(
                DESCRIBE,
                title="3  What the model is told",
                note="A low `motion_bucket_id`, 17 to 40, lets the guide clip decide.",
            ),
            FOLLOW,
            replace(SAVE, title="5  Frames to file", note=SAVE.note.replace("step 2", "step 3")),
        ),
    ),
    "orbit": Graph(
        "Orbit",
        "# Around an object\nOne picture of one object becomes a clip that goes all around it.",
        (
            Group(
                "1  Object and checkpoint",
                "Choose a picture of **one object**, best on a plain ground or with alpha. This graph needs "
                "`sv3d_p.safetensors` in `models/checkpoints`; the template names where it comes from.",
                ("1 2",),
            ),
            Group(
                "2  The orbit",
                "The object is put in the middle of white. The dial shows where the camera stands; the orange"
                " dot, the given view, is the **last** frame. `wave` and `list` are for sv3d_p alone.",
                ("3",),
            ),
            SAMPLE,
            replace(
                SAVE,
                note="The clip loops without a doubled frame. **Create Video** sets how fast it goes around.",
            ),
        ),
    ),
    "lock_the_camera": Graph(
        "Lock the Camera",
        "# The camera stands still\nOnly what you paint moves: open the photo's **mask editor** and paint "
        "what may come alive.",
        (
            PHOTO,
            Group(
                "2  Keep the camera still",
                "`Static` holds the photo in every frame, but for what is painted white in its mask. Without "
                "a mask light and fine detail still move.",
                ("8",),
            ),
            replace(
                DESCRIBE,
                title="3  What the model is told",
                note="`motion_bucket_id` says how much the painted part moves.",
            ),
            FOLLOW,
            replace(SAVE, title="5  Frames to file", note=SAVE.note.replace("step 2", "step 3")),
        ),
    ),
}
GRAPHS |= {
    "two_pictures": Graph(
        "Two Pictures",
        "# From one picture to another\nChoose two pictures, press **Run**. The clip begins with one and "
        "ends with the other.",
        (
            Group(
                "1  Pictures and checkpoint",
                "Choose the **first** and the **last** picture; the same one twice is a loop. Two views of "
                "one place work best: put a picture between those that are far apart. " + OWN_CHECKPOINT,
                ("1 3", "2"),
            ),
            Group(
                "2  One photo as two views",
                "As this graph opens, both pictures are **one photo**, so the camera takes a **step to the "
                "right** for the last. For a last picture of your own set `move` to **Static**.",
                ("9", "10"),
            ),
            Group(
                "3  Between the pictures",
                "`method` **forward** suits the embedded checkpoint, which moves one way only. With svd or "
                "svd_xt use **vibid** and `motion_prior` 0.2. `motion_bucket_id` rises with the way from one "
                "to the other. " + MEETS,
                ("4", "8"),
            ),
            replace(SAVE, title="4  Frames to file", note=PLAYS_AT_SEVEN.replace("step 2", "step 3")),
        ),
    ),
    "seamless_loop": Graph(
        "Seamless Loop",
        "# A clip that never ends\nChoose a photo, press **Run**. The clip returns to it, and the "
        "doubled frame "
        "is left out.",
        (
            PHOTO,
            Group(
                "2  There and on",
                "Without a last picture the clip **returns to the first**. The embedded checkpoint "
                "moves one way only, so it gives no more than a pulse; with svd or svd_xt use **vibid** and "
                "`motion_prior` 0.2. The text calls a still, a jump or a turn by its name: then try another "
                "`seed`.",
                ("4", "8"),
            ),
            replace(SAVE, title="3  Frames to file", note=PLAYS_AT_SEVEN),
        ),
    ),
    "long_video": Graph(
        "Long Video (15 s)",
        "# Fifteen seconds from one photo\nChoose a photo, press **Run**. Each chunk goes on where the one "
        "before ended.",
        (
            PHOTO,
            Group(
                "2  Chunk by chunk",
                "Set `seconds`. The bar and the time left count all chunks; **cancel** and what is finished "
                "still goes on. The embedded checkpoint blurs from chunk to chunk; with svd or svd_xt set "
                "`candidates` to 3 for smoother joins.",
                ("4",),
            ),
            Group(
                "3  What each chunk did",
                "The chart compares the end of every chunk with the start, and warns in words. "
                "`anchor` takes "
                "drifting colours back.",
                ("9", "8"),
            ),
            replace(
                SAVE,
                note="**Decode Video (SVD)** decodes all chunks at once, so there is no seam. **Create "
                "Video** plays "
                "the file at the `fps` of step 2.",
            ),
        ),
    ),
}
GRAPHS |= {
    "image_to_video_native_beside": Graph(
        "Image to Video, native beside ours",
        "# ComfyUI's own nodes beside PureSVD's\nThe same checkpoint, photo, numbers and seed twice; "
        "**Compare Images** lays one over the other.",
        (
            replace(
                PHOTO,
                note="The seed is **one for both**. With `svd` or `svd_xt` type its size, frames and "
                "guidance into the native nodes too. Wire **Image Only Checkpoint Loader** into their column "
                "to compare that as well.",
                columns=("1 2 14",),
            ),
            Group(
                "2  Native nodes",
                "The image encoder sees the middle of the photo, and the noise on it is twice the stated "
                "level and **depends on what ran before**.",
                ("8 9", "10 11"),
            ),
            Group(
                "3  The same with PureSVD",
                "The image encoder sees the whole photo, and the noise on it has a **seed of its own**. "
                "`compatibility` **native** gives the native numbers.",
                ("3", "4 5"),
            ),
            Group(
                "4  Compare",
                "In Nodes 2.0 move the pointer over the picture: **native to the left, PureSVD to the "
                "right**, frame by frame. The file plays both clips side by side, in the classic editor too.",
                ("12", "13 6 7"),
            ),
        ),
    ),
}
WIDGETS = ("CURVE", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "IMAGECOMPARE")
NOT_STORED = ("IMAGECOMPARE",)  # widgets that only show what a run made
DRAWN_ANEW = ("PrimitiveInt",)  # its number is a seed here; by itself it stays
WIDTH, GAP, SLOT, WIDGET, FRAME, TITLE = 320, 40, 20, 24, 14, 30
HEAD, NOTE, CHARACTERS = (
    40,
    16,
    50,
)  # height of a group's title, of a line of a note; letters in a line of WIDTH
COLOURS = ("#3f789e", "#8a6d3b", "#3f7f5f", "#7a5a8f")
SHOWS = {
    "PureSVDCameraMove": 220,
    "PureSVDDrag": 250,
    "PureSVDImageToOrbit": 240,
    "ImageCompare": 340,
    "LoadImage": 250,
    "LoadVideo": 250,
    "SaveVideo": 340,
    "PreviewAny": 400,
    "PreviewImage": 340,
}  # height of a picture, always there
UNSET = {
    "LoadVideo": ("file",),
    "PureSVDLoadLora": ("lora_name",),
    "PureSVDLoadControlNet": ("control_net_name",),
}  # inputs to choose: the host brings a photo and no video, and marks a missing one red
EMBEDDED = "(embedded)"  # what the pack brings itself is always there
PLAYS = {
    "PureSVDBetween": 340,
    "PureSVDLongVideo": 340,
    "PureSVDSample": 340,
    "PureSVDSampleUntil": 340,
    "PureSVDGuider": 340,
    "KSampler": 340,
    "SamplerCustomAdvanced": 340,
}  # the same, while it runs or once it has run
PLAYS |= {"PureSVDDrag": 320, "PureSVDCameraMove": 100}  # the same, in one of the editor's two renderers
PLAYS |= {"PureSVDSweep": 24, "SaveLoRA": 32, "CLIPTextEncode": 8}  # drawn higher there


def inputs(cls) -> list[tuple[str, str, dict]]:
    """(name, type, options) of every input in the editor's order."""
    info = cls.INPUT_TYPES()
    found = []
    for name, spec in {**info.get("required", {}), **info.get("optional", {})}.items():
        kind = "COMBO" if isinstance(spec[0], list | tuple) else spec[0]
        found.append((name, kind, spec[1] if len(spec) > 1 else {}))
    return found


def is_widget(kind: str, options: dict) -> bool:
    """Is a value typed into the node? Else it can only be wired."""
    return kind in WIDGETS and not options.get("forceInput")


def widget_values(cls, given: dict) -> list:
    """Values by position; a seed is followed by what happens to it after a run, an upload by its button."""
    values = []
    for name, kind, options in inputs(cls):
        if not is_widget(kind, options) or (name not in given and "default" not in options):
            continue
        if kind in NOT_STORED:
            continue
        linked = isinstance(given.get(name), list)
        values.append(options.get("default") if linked else given.get(name, options.get("default")))
        if after := options.get("control_after_generate"):
            values.append("fixed" if after == "fixed" else "randomize")
        if options.get("image_upload") or options.get("video_upload"):
            values.append("image")
    return values


def ui_node(key: str, entry: dict, cls, *, named: bool) -> dict:
    """Without a title the editor shows the node's own, in its language."""
    title = {"title": entry["_meta"]["title"]} if named else {}
    linked = {name for name, value in entry["inputs"].items() if isinstance(value, list)}
    shown = {name for name, kind, options in inputs(cls) if is_widget(kind, options)}
    sockets = [(name, kind) for name, kind, _ in inputs(cls) if name not in shown or name in linked]
    types = list(cls.RETURN_TYPES)
    names = list(getattr(cls, "RETURN_NAMES", None) or types)
    unset = {
        name: ""
        for name in UNSET.get(entry["class_type"], ())
        if not str(entry["inputs"].get(name)).endswith(EMBEDDED)
    }
    values = widget_values(cls, entry["inputs"] | unset)
    if entry["class_type"] in DRAWN_ANEW:
        values[-1] = "randomize"
    ours = entry["class_type"].startswith("PureSVD")
    properties = {"Node name for S&R": entry["class_type"], "cnr_id": "puresvd" if ours else "comfy-core"}
    texts = [value.removeprefix(WHOLE) for value in entry["inputs"].values() if isinstance(value, str)]
    if wanted := [text for text in dict.fromkeys(texts) if text in MODELS]:
        properties["models"] = [
            {
                "name": w,
                "url": f"{MODELS[w]}/resolve/main/{w}",
                "directory": PARTS.get(w, "checkpoints"),
            }
            for w in wanted
        ]
    height = FRAME + SLOT * max(len(sockets), len(types)) + WIDGET * len(values)
    height += SHOWS.get(entry["class_type"], 0)
    return {
        "id": int(key),
        "type": entry["class_type"],
        **title,
        "pos": [0, 0],
        "size": [WIDTH, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {
                "name": name,
                "type": kind,
                "link": None,
                **({"widget": {"name": name}} if name in shown else {}),
            }
            for name, kind in sockets
        ],
        "outputs": [
            {"name": n, "type": kind, "links": [], "slot_index": i}
            for i, (n, kind) in enumerate(zip(names, types))
        ],
        "properties": properties,
        "widgets_values": values,
    }


def ui_graph(prompt: dict, graph: Graph, classes: dict) -> dict:
    types = [entry["class_type"] for entry in prompt.values()]
    nodes = {
        key: ui_node(key, entry, classes[entry["class_type"]], named=types.count(entry["class_type"]) > 1)
        for key, entry in prompt.items()
    }
    links = []
    for key, entry in prompt.items():
        for slot, socket in enumerate(nodes[key]["inputs"]):
            origin = entry["inputs"].get(socket["name"])
            if origin is None:
                continue
            link = [len(links) + 1, int(origin[0]), origin[1], int(key), slot, socket["type"]]
            links.append(link)
            socket["link"] = link[0]
            nodes[origin[0]]["outputs"][origin[1]]["links"].append(link[0])
    notes, groups = place(graph, nodes)
    return {
        "last_node_id": 100 + len(notes),
        "last_link_id": len(links),
        "nodes": [*notes, *nodes.values()],
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def place(graph: Graph, nodes: dict) -> tuple[list[dict], list[dict]]:
    """Groups side by side, in each a note above columns of nodes; returns (notes, groups)."""
    wide = [WIDTH * len(group.columns) + GAP * (len(group.columns) - 1) for group in graph.groups]
    notes = [text(100, graph.note, (0, -120), 660, 80)]
    high = max(lines(group.note, w) for group, w in zip(graph.groups, wide)) * NOTE + 2 * FRAME
    x, groups, order = 0, [], 0
    for i, (group, w) in enumerate(zip(graph.groups, wide)):
        notes.append(text(101 + i, group.note, (x + GAP // 2, HEAD + TITLE), w, high))
        top, bottom = HEAD + TITLE + high + GAP // 2 + TITLE, 0
        for j, column in enumerate(group.columns):
            y = top
            for key in column.split():
                nodes[key]["pos"] = [x + GAP // 2 + j * (WIDTH + GAP), y]
                nodes[key]["order"], order = order, order + 1
                y += nodes[key]["size"][1] + GAP + TITLE
                y += PLAYS.get(nodes[key]["type"], 0)
            bottom = max(bottom, y - TITLE)
        groups.append(
            {
                "id": i + 1,
                "title": group.title,
                "bounding": [x, 0, w + GAP, bottom],
                "color": COLOURS[i % len(COLOURS)],
                "font_size": 24,
                "flags": {},
            }
        )
        x += w + GAP + GAP // 2
    return notes, groups


def lines(note: str, width: int) -> int:
    letters = CHARACTERS * width // WIDTH
    return sum(-(-len(line) // letters) for line in note.split("\n"))


def text(key: int, note: str, place: tuple[int, int], width: int, height: int) -> dict:
    return {
        "id": key,
        "type": "MarkdownNote",
        "pos": list(place),
        "size": [width, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [note.replace("`", "*")],  # code is blue there, and cannot be read on brown
        "title": "Note",
        "color": "#432",
        "bgcolor": "#653",
    }


def write(classes: dict) -> list[Path]:
    written = []
    for name, graph in GRAPHS.items():
        prompt = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
        written.append(FOLDER / f"{graph.title}.json")
        made = json.dumps(ui_graph(prompt, graph, classes), indent=1)
        written[-1].write_text(made + "\n", encoding="utf-8")
    return written


def host_classes() -> dict:
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    importlib.import_module("comfy.cli_args").args.cpu = True
    importlib.import_module("utils.extra_config")
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes.NODE_CLASS_MAPPINGS


if __name__ == "__main__":
    write(host_classes())
