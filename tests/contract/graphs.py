"""The whole path from photo to video, at the smallest size."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from clients.puresvd_client import WORKFLOW, set_photo, videos

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "sample.jpg"
SMALL = {"width": 64, "height": 64, "frames": 2, "steps": 2, "max_cfg": 2.5, "curve": "linear"}
CHECKPOINTS = {"nano": "svd-nano (embedded)", "random": "tiny.safetensors"}
HOOKED = {"strength": 1.0, "set_cond_area": "default"}
LORA_PARTS = (
    *("temporal_attention", "spatial_attention", "feed_forward", "projections"),
    *("convolutions", "embeddings", "mixers"),
)
REMADE = (
    "PureSVDImageToVideo",
    "PureSVDSample",
)  # all but the loaders' outputs, so that a model is used again


def graph(model="nano", *, remake="", **changes):
    """The bundled workflow with a manifest; another `remake` has the server compute it anew."""
    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    recorded = {"images": ["5", 0], "filename_prefix": "manifest", "model": ["2", 0]}
    prompt["record"] = {"class_type": "PureSVDManifest", "inputs": recorded}
    prompt["6"]["inputs"]["images"] = ["record", 0]
    wanted = {"ckpt_name": CHECKPOINTS[model]} | SMALL | changes
    for node in prompt.values():
        node["inputs"] |= {key: value for key, value in wanted.items() if key in node["inputs"]}
        if remake and node["class_type"] in REMADE:
            node["inputs"]["remake"] = (
                remake  # unknown inputs are no fault to the host, but another cache key
            )
    return prompt


@dataclass(frozen=True)
class Made:
    manifest: dict
    video: bytes

    @property
    def frames(self):
        return self.manifest["frames"]["sha256"]

    def __str__(self):
        return f"frames {self.frames[:12]}, file {hashlib.sha256(self.video).hexdigest()[:12]}"


class Running:
    """One server and the photo it has been given."""

    def __init__(self, server, folder: Path):
        self.server, self.client, self.folder = server, server.client, folder
        self.photo = self.client.upload(SAMPLE)

    def queue(self, prompt):
        return self.client.queue(set_photo(prompt, self.photo))

    def make(self, prompt):
        """Run a graph to its end."""
        job = self.client.wait(self.queue(prompt), every=0.05, timeout=120)
        (record,) = job["outputs"]["record"]["files"]
        (video,) = videos(job)
        text = self.client.download(record, self.folder).read_text(encoding="utf-8")
        return Made(json.loads(text), self.client.download(video, self.folder).read_bytes())


def every_node(photo):
    """One graph with each of our nodes on its way to a file."""
    prompt = set_photo(graph(), photo)
    del prompt["6"], prompt["7"]
    prompt["record"]["inputs"]["images"] = ["measured", 0]
    frames, model, choice = ["5", 0], ["2", 0], {"schedule": "karras", "steps": 2}
    noise = {"sigma_max": 700.0, "sigma_min": 0.002, "rho": 7.0, "denoise": 1.0}
    rates = {"source_fps": 6.0, "target_fps": 12.0, "slow_motion": 1.0, "quality": "fast"}
    guidance = {"min_cfg": 1.0, "max_cfg": 2.0, "curve": "triangle"}
    described = {"positive": ["controlled", 0], "negative": ["controlled", 1]}
    control = {"control_net_name": "nano.safetensors", "accumulation": "once", "hint_range": "0 to 1"}
    applied = {"control_net": ["control", 0], "image": ["1", 0], "strength": 0.5}
    applied |= {"positive": ["hooked", 0], "negative": ["3", 1], "start_percent": 0.0, "end_percent": 1.0}
    parts = {f"{part}_name": "checkpoints/tiny.safetensors" for part in ("unet", "vae", "clip")}
    custom = {
        "noise": ["noise", 0],
        "guider": ["guider", 0],
        "sampler": ["sampler", 0],
        "sigmas": ["levels", 0],
    }
    adapter = {"model": model, "lora_name": "nano.safetensors", "strength": 0.5}
    adapter |= dict.fromkeys(LORA_PARTS, 1.0)
    until = described | choice | guidance | {"vae": ["2", 2], "target": 0.0, "goal": "at least", "of": "all"}
    until |= {"tries": 2, "ladder": "seed and bucket", "fps": 6.0}
    more = {
        "lora": ("PureSVDLoadLora", adapter),
        "hook": ("PureSVDLoraHook", adapter),
        "control": ("PureSVDLoadControlNet", control),
        "controlled": ("ControlNetApplyAdvanced", applied),
        "hooked": ("ConditioningSetProperties", HOOKED | {"cond_NEW": ["3", 0], "hooks": ["hook", 0]}),
        "parts": ("PureSVDLoadParts", parts | {"weight_dtype": "fp32"}),
        "moved": ("PureSVDMotion", described | {"latent": ["3", 2], "strength": 0.5}),
        "levels": ("PureSVDSigmas", choice | noise | {"latent": ["moved", 2]}),
        "guider": ("PureSVDGuider", {"model": ["lora", 0]} | described | guidance),
        "until": (
            "PureSVDSampleUntil",
            {"model": model, "latent": ["3", 2], "seed": 1, "sampler": "euler"} | until,
        ),
        "noise": ("DisableNoise", {}),  # RandomNoise reseeds torch for everybody
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "custom": ("SamplerCustomAdvanced", custom | {"latent_image": ["until", 0]}),
        "redecoded": ("PureSVDDecode", {"vae": ["parts", 2], "samples": ["custom", 0], "memory": 0.0}),
        "smooth": (
            "PureSVDInterpolate",
            {"images": frames, "detect_cuts": True, "cut_threshold": 0.5} | rates,
        ),
        "steady": ("PureSVDDeflicker", {"images": ["smooth", 0], "window": 24.0, "strength": 1.0}),
        "locked": ("PureSVDColorLock", {"images": ["steady", 0], "anchor_frames": 1, "strength": 1.0}),
        "measured": ("PureSVDMeasure", {"images": ["locked", 0], "fps": 6.0, "loop": False}),
        "saved": ("SaveImage", {"images": ["redecoded", 0], "filename_prefix": "redecoded"}),
    }
    more |= controls()
    return prompt | {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in more.items()}


def controls():
    """The nodes that say what moves, each looked at by a node that takes anything."""
    model, clip_vision, vae, photo = ["2", 0], ["2", 1], ["2", 2], ["1", 0]
    frames = graph()["3"]["inputs"]["frames"]
    camera = {"image": photo, "move": "Pan Left", "amount": 0.1, "frames": frames, "border": "generate"}
    camera |= {"centre_x": 0.5, "centre_y": 0.5, "fov": 55.0, "depth_shows": "near is bright"}
    paths = '{"paths": [[[0.3, 0.5], [0.6, 0.5]]], "pins": []}'
    follow = {"model": model, "vae": vae, "images": ["camera", 0], "latent": ["3", 2], "adherence": "follow"}
    follow |= {"weak_level": -1.0, "strong_level": -1.0, "feather": 0, "fit": "crop"}
    orbit = {"clip_vision": clip_vision, "vae": vae, "image": photo, "ratio": 0.9, "size": 64, "frames": 3}
    orbit |= {
        "orbit": "static",
        "elevation": 10.0,
        "amplitude": 15.0,
        "waves": 1,
        "direction": "anticlockwise",
    }
    orbit |= {"azimuths": "", "elevations": "", "seed": 0, "compatibility": "reference"}
    between = {"model": model, "clip_vision": clip_vision, "vae": vae, "start_image": photo, "width": 64}
    between |= {"height": 64, "frames": 3, "seed": 0, "steps": 2, "schedule": "karras", "method": "forward"}
    between |= {
        "guidance": 1.0,
        "min_cfg": 1.0,
        "max_cfg": 1.0,
        "motion_prior": 0.5,
        "motion_prior_repeats": 1,
    }
    between |= {"motion_prior_strength": 1.0, "reinjection": 0, "reinjection_length": 0, "pin": "both"}
    between |= {"reinjection_until": 0.8, "pin_below": 0.0, "motion_bucket_id": 127, "fps": 0}
    between |= {"augmentation_level": 0.02, "fit": "crop"}
    long = {
        "model": model,
        "clip_vision": clip_vision,
        "vae": vae,
        "image": photo,
        "seconds": 0.5,
        "width": 64,
    }
    long |= {"height": 64, "frames": 3, "motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.02}
    long |= {"fit": "crop", "seed": 0, "steps": 2, "min_cfg": 1.0, "max_cfg": 1.0, "curve": "constant"}
    long |= {
        "schedule": "karras",
        "sampler": "euler",
        "next_cfg": 0.0,
        "anchor": 0.7,
        "next_augmentation": 0.05,
    }
    long |= {
        "token": "last",
        "candidates": 1,
        "candidate_until": 20.0,
        "close": "open",
        "close_method": "vibid",
    }
    long |= {"on_cancel": "stop"}
    train = {"ckpt_name": CHECKPOINTS["nano"], "images": ["camera", 0], "fps": 7.0, "frames": 2, "rank": 2}
    train |= {"width": 64, "height": 64, "parts": "temporal attention", "steps": 1, "learning_rate": 1e-4}
    train |= {"batch": 1, "bucket": -1.0, "save_memory": True, "seed": 0}
    values = {"name": "value", "first": 0.5, "last": 1.0, "count": 2, "spacing": "even"}
    values |= {"whole_numbers": False, "own_values": ""}
    sheet = {"images": ["swept", 0], "width": 64, "columns": 0, "frames": 2, "labels": ["sweep", 2]}
    swept = {"images": ["camera", 0], "anchor_frames": 1, "strength": ["sweep", 0]}
    feeds = {"sweep": ("PureSVDSweep", values), "swept": ("PureSVDColorLock", swept)}
    made = {
        "sheet": ("PureSVDContactSheet", sheet, 0),
        "trained": ("PureSVDTrainLora", train, 1),
        "long": ("PureSVDLongVideo", long, 1),
        "camera": ("PureSVDCameraMove", camera, 1),
        "drag": ("PureSVDDrag", {"image": photo, "paths": paths, "frames": 2, "radius": 0.2}, 1),
        "follow": ("PureSVDFollow", follow, 2),
        "orbit": ("PureSVDImageToOrbit", orbit, 2),
        "between": ("PureSVDBetween", between, 1),
        "fast": ("PureSVDFast", {"model": model, "mode": "gentle"}, 0),
    }
    looks = {f"{key} seen": ("PreviewAny", {"source": [key, i]}) for key, (_, _, i) in made.items()}
    return {key: (kind, inputs) for key, (kind, inputs, _) in made.items()} | feeds | looks
