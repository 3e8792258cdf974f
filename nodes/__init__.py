"""The nodes: thin adapters that hand out the host's own socket types. `NODES` is all of them."""

from comfy_api.latest import ComfyExtension

from . import interpolate, measure, postprocess, sweep
from .between import PureSVDBetween
from .camera import PureSVDCameraMove
from .condition import PureSVDImageToVideo
from .control import PureSVDLoadControlNet
from .decode import PureSVDDecode
from .drag import PureSVDDrag
from .fast import PureSVDFast
from .follow import PureSVDFollow
from .guide import PureSVDGuider
from .host import replacements
from .levels import PureSVDSigmas
from .load import PureSVDLoadCheckpoint, PureSVDLoadParts
from .long_video import PureSVDLongVideo
from .lora import PureSVDLoadLora, PureSVDLoraHook
from .manifest import PureSVDManifest
from .motion import PureSVDMotion
from .orbit import PureSVDImageToOrbit
from .sample import PureSVDSample, PureSVDSampleUntil
from .train import PureSVDTrainLora

NODES = [
    PureSVDLoadCheckpoint,
    PureSVDLoadParts,
    PureSVDImageToVideo,
    PureSVDMotion,
    PureSVDSigmas,
    PureSVDGuider,
    PureSVDSample,
    PureSVDSampleUntil,
    PureSVDDecode,
    PureSVDImageToOrbit,
    PureSVDManifest,
    PureSVDBetween,
    PureSVDLongVideo,
    PureSVDLoadLora,
    PureSVDLoraHook,
    PureSVDTrainLora,
    PureSVDCameraMove,
    PureSVDDrag,
    PureSVDFollow,
    PureSVDLoadControlNet,
    PureSVDFast,
    *interpolate.NODES,
    *postprocess.NODES,
    *measure.NODES,
    *sweep.NODES,
]


class PureSVDExtension(ComfyExtension):
    async def on_load(self):
        await replacements.register()

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint():
    return PureSVDExtension()
