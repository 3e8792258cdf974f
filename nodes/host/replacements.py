"""What stands in for nodes of SVD packs that are no longer kept, where their inputs mean the same."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyAPI, io

# A mapped input must always be in an old prompt, else the host refuses it. Widget names are in the order of
# stored values. What an old node knew and ours takes from elsewhere (photo, VAE) is left to be wired.
OLD: tuple[dict[str, Any], ...] = (
    {
        "old_node_id": "SVDModelLoader",
        "new_node_id": "PureSVDLoadCheckpoint",
        "old_widget_ids": ["checkpoint", "num_frames", "num_steps", "device"],
        "input_mapping": [
            {"new_id": "ckpt_name", "old_id": "checkpoint"},
            {"new_id": "weight_dtype", "set_value": "default"},
        ],
    },
    {
        "old_node_id": "SVDSampler",
        "new_node_id": "PureSVDSample",
        "old_widget_ids": ["motion_bucket_id", "fps_id", "cond_aug", "seed"],
        "input_mapping": [
            {"new_id": "model", "old_id": "model"},
            {"new_id": "seed", "old_id": "seed"},
            {"new_id": "steps", "set_value": 0},
            {"new_id": "min_cfg", "set_value": 1.0},
            {"new_id": "max_cfg", "set_value": 2.5},
            {"new_id": "curve", "set_value": "as trained"},
            {"new_id": "schedule", "set_value": "as trained"},
            {"new_id": "sampler", "set_value": "as trained"},
        ],
    },
    {
        "old_node_id": "SVDDecoder",
        "new_node_id": "PureSVDDecode",
        "old_widget_ids": ["decoding_t", "device"],
        "input_mapping": [
            {"new_id": "samples", "old_id": "samples_z"},
            {"new_id": "memory", "set_value": 0.0},
        ],
    },
)


async def register() -> None:
    """Tell the host; one that keeps no such list, or runs no server, is left alone."""
    from server import PromptServer

    make = getattr(io, "NodeReplace", None)
    manager = getattr(getattr(PromptServer, "instance", None), "node_replace_manager", None)
    if make is None or manager is None:
        return

    class SameOutputs(make):  # type: ignore[valid-type, misc]
        """Outputs keep their numbers. The editor wants to be told; the server must not be, because it
        then looks for inputs of a node that it has replaced already under their old names.
        """

        def as_dict(self) -> dict[str, Any]:
            return super().as_dict() | {"output_mapping": [{"old_idx": 0, "new_idx": 0}]}

    for entry in OLD:
        await ComfyAPI().node_replacement.register(SameOutputs(**entry))
