"""Write subgraphs/*.json, blueprints for the editor, from the prompts in workflows/api; COMFYUI_PATH set:

    python -m tests.nodes.write_blueprints

A blueprint is a prompt without the nodes that load and save: what they were wired to becomes its sockets.
"""

import json
import uuid
from dataclasses import dataclass

from tests.nodes import write_workflows as workflows

FOLDER = workflows.ROOT / "subgraphs"
HOST, INPUTS, OUTPUTS = 100, -10, -20  # ids of the node on the canvas, and of both ends seen from inside
WIDTH, GAP = workflows.WIDTH, 2 * workflows.GAP
PREVIEW = "$$canvas-image-preview"  # the editor's name of what plays in a node while it runs
NAMESPACE = uuid.UUID("6f3f6a5e-6f0c-4f0e-9a63-0f7a3c1d2b45")


@dataclass(frozen=True)
class Blueprint:
    """`prompt` names a file of workflows/api. Its nodes `without` are left out; what they gave becomes an
    input, what they took an output. `widgets` are shown on the node, each as "key.input".
    """

    title: str  # the file's name, and the node's in the editor
    prompt: str
    without: str  # keys with a space between them
    widgets: str  # the same, each key.input
    description: str
    aliases: tuple[str, ...]
    category: str = "Video generation and editing/Image to video"  # the host's own folders
    preview: str = ""  # key of the node whose live preview is shown


BLUEPRINTS = (
    Blueprint(
        "Image to Video (SVD)",
        "image_to_video",
        without="1 7",
        widgets="2.ckpt_name 3.motion_bucket_id 4.seed",
        description="A photo becomes a short video with Stable Video Diffusion. The embedded checkpoint runs "
        "everywhere; svd_xt gives full quality. Size, frames and guidance are as the checkpoint was trained.",
        aliases=("svd", "img2vid", "stable video diffusion", "photo to video"),
        preview="4",
    ),
    Blueprint(
        "Camera Move (SVD)",
        "camera_pan",
        without="1 7",
        widgets="2.ckpt_name 8.move 8.amount 9.adherence 4.seed",
        description="A photo becomes a video in which the camera pans, zooms or turns as chosen. What the "
        "photo does not show is invented. No further model file is needed.",
        aliases=("svd", "pan", "zoom", "tilt", "ken burns", "camera control"),
        preview="4",
    ),
    Blueprint(
        "Locked Camera (SVD)",
        "lock_the_camera",
        without="1 7",
        widgets="2.ckpt_name 9.adherence 3.motion_bucket_id 4.seed",
        description="A photo becomes a video in which the camera stands still and only what the mask shows "
        "comes alive.",
        aliases=("svd", "static camera", "lock camera", "still camera", "cinemagraph"),
        preview="4",
    ),
    Blueprint(
        "Drag (SVD)",
        "drag",
        without="1 7",
        widgets="2.ckpt_name 9.adherence 4.seed",
        description="Draw on a photo what should move and where to: it becomes a video in which those parts "
        "move. Open the blueprint to draw. No further model file is needed.",
        aliases=("svd", "motion brush", "trajectory", "point and move", "animate"),
        preview="4",
    ),
    Blueprint(
        "Orbit around Object (SV3D)",
        "orbit",
        without="1 7",
        widgets="2.ckpt_name 3.elevation 3.direction 4.seed",
        description="One picture of one object becomes a clip that goes all around it and ends at the given "
        "view. It needs an SV3D checkpoint.",
        aliases=("sv3d", "turntable", "multi view", "novel view", "3d"),
        preview="4",
    ),
    Blueprint(
        "Two Pictures (SVD)",
        "two_pictures",
        without="1 3 9 10 7",
        widgets="2.ckpt_name 4.method 4.motion_prior 4.motion_bucket_id 4.seed",
        description="A clip from one picture to another with Stable Video Diffusion; the same picture twice "
        "is a loop. svd and svd_xt do best with vibid and a motion prior of 0.2.",
        aliases=("first last frame", "keyframes", "inbetween", "morph", "loop"),
        preview="4",
    ),
    Blueprint(
        "Seamless Loop (SVD)",
        "seamless_loop",
        without="1 7",
        widgets="2.ckpt_name 4.method 4.motion_prior 4.seed",
        description="A photo becomes a clip that returns to it and never ends, with Stable Video Diffusion.",
        aliases=("loop", "cinemagraph", "endless", "gif"),
        preview="4",
    ),
    Blueprint(
        "Photo to Long Video (SVD)",
        "long_video",
        without="1 7",
        widgets="2.ckpt_name 4.seconds 4.anchor 4.candidates 4.seed",
        description="A video of any length from one photo with Stable Video Diffusion, chunk by chunk, with "
        "anchored colours.",
        aliases=("long video", "extend", "continue", "chain"),
        preview="4",
    ),
    Blueprint(
        "Image to Livelier Video (SVD)",
        "image_to_video_more_motion",
        without="1 7",
        widgets="2.ckpt_name 8.strength 4.seed",
        description="A photo becomes a short video with more motion than the photo gives by itself: one "
        "slider from untouched to much more.",
        aliases=("svd", "more motion", "nothing moves", "motion strength"),
        preview="4",
    ),
    Blueprint(
        "Image to Video until It Moves (SVD)",
        "image_to_video_until_it_moves",
        without="1 7 8",
        widgets="2.ckpt_name 4.target 4.tries 4.seed",
        description="A photo becomes a short video that moves as fast as asked, in picture widths per "
        "second: seed after seed is tried until one does, else the nearest comes out.",
        aliases=("svd", "retry", "best of", "seed search", "motion"),
        preview="4",
    ),
    Blueprint(
        "Interpolate Video",
        "interpolate_any_video",
        without="1 5",
        widgets="3.target_fps 3.slow_motion 3.quality",
        description="Any video at any frame rate, with its sound. New frames follow the motion, scene cuts "
        "are not blended, and no model file is needed.",
        aliases=("frame interpolation", "fps", "smooth", "slow motion", "RIFE", "FILM"),
        category="Video Tools",
    ),
)


def identity(blueprint: Blueprint, *parts: str) -> str:
    """The same UUID each time the file is written."""
    return str(uuid.uuid5(NAMESPACE, "/".join((blueprint.title, *parts))))


class Inside:
    """What a blueprint holds: nodes from left to right, links between them and to both ends."""

    def __init__(self, blueprint: Blueprint, classes: dict):
        path = workflows.API / f"{blueprint.prompt}.json"
        self.blueprint, self.whole = blueprint, json.loads(path.read_text(encoding="utf-8"))
        self.without, self.shown = blueprint.without.split(), blueprint.widgets.split()
        self.links: list[dict] = []
        self.inputs: list[dict] = []
        self.outputs: list[dict] = []
        kept = {key: entry for key, entry in self.whole.items() if key not in self.without}
        self.nodes = {key: self.node(key, entry, classes[entry["class_type"]]) for key, entry in kept.items()}
        self.wire()
        self.promote()
        self.leave()

    def node(self, key: str, entry: dict, cls: type) -> dict:
        """As in a template, and a socket for every widget that is shown outside."""
        made = workflows.ui_node(key, entry, cls, named=False)
        for name, kind, _ in workflows.inputs(cls):
            if f"{key}.{name}" in self.shown:
                socket = {"name": name, "type": kind, "link": None, "widget": {"name": name}}
                made["inputs"].append(socket)
        return made

    def wire(self) -> None:
        """Links between nodes; one output of a node left out is one input of the blueprint."""
        given: dict[tuple, int] = {}
        for key, node in self.nodes.items():
            for at, slot in enumerate(node["inputs"]):
                origin = self.whole[key]["inputs"].get(slot["name"])
                if not isinstance(origin, list):
                    continue
                if origin[0] not in self.without:
                    self.link(origin[0], origin[1], int(key), at)
                    continue
                if tuple(origin) not in given:
                    given[tuple(origin)] = self.end(self.inputs, "input", slot)
                self.enter(key, at, given[tuple(origin)])

    def promote(self) -> None:
        """The widgets shown outside: an input each, and (input, key, widget) in their order."""
        self.widgets: list[tuple[str, str, str]] = []
        for shown in self.shown:
            key, name = shown.split(".")
            at = [slot["name"] for slot in self.nodes[key]["inputs"]].index(name)
            place = self.end(self.inputs, "input", self.nodes[key]["inputs"][at])
            self.enter(key, at, place)
            self.widgets.append((self.inputs[place]["name"], key, name))

    def leave(self) -> None:
        """Outputs: what the nodes left out took, in their order."""
        for key in self.without:
            for origin in self.whole[key]["inputs"].values():
                if isinstance(origin, list) and origin[0] in self.nodes:
                    slot = self.nodes[origin[0]]["outputs"][origin[1]]
                    place = self.end(self.outputs, "output", slot)
                    self.outputs[place]["linkIds"].append(self.link(*origin, OUTPUTS, place))

    def end(self, ends: list[dict], side: str, slot: dict) -> int:
        """A socket of the blueprint named as the slot it leads to; returns its place."""
        names = [end["name"] for end in ends]
        name = next(
            n for n in (slot["name"], *(f"{slot['name']}_{i}" for i in range(2, 9))) if n not in names
        )
        ends.append({"id": identity(self.blueprint, side, name), "name": name})
        ends[-1] |= {"type": slot["type"], "linkIds": []}
        return len(ends) - 1

    def enter(self, key: str, at: int, place: int) -> None:
        link = self.link(INPUTS, place, int(key), at)
        self.inputs[place]["linkIds"].append(link)

    def link(self, origin: str | int, slot: int, target: int, at: int) -> int:
        """Join two slots, and note the link at both nodes; an end of the blueprint is not among them."""
        key, made = str(origin), len(self.links) + 1
        ends = self.outputs if target == OUTPUTS else self.nodes[str(target)]["inputs"]
        if key in self.nodes:
            self.nodes[key]["outputs"][slot]["links"].append(made)
        if target != OUTPUTS:
            ends[at]["link"] = made
        joined = {"origin_id": int(origin), "origin_slot": slot, "target_id": target, "target_slot": at}
        self.links.append({"id": made, **joined, "type": ends[at]["type"]})
        return made


def blueprint_graph(blueprint: Blueprint, classes: dict) -> dict:
    """A graph of one node that stands for the subgraph, as the editor saves blueprints."""
    inside = Inside(blueprint, classes)
    right = 0
    for order, node in enumerate(inside.nodes.values()):
        node |= {"pos": [right, 0], "order": order}
        right += WIDTH + GAP
    subgraph = {
        "id": identity(blueprint),
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(map(int, inside.nodes)),
            "lastLinkId": len(inside.links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "inputNode": {"id": INPUTS, "bounding": [-240, 0, 120, 40 + 20 * len(inside.inputs)]},
        "outputNode": {"id": OUTPUTS, "bounding": [right, 0, 120, 40 + 20 * len(inside.outputs)]},
        "inputs": inside.inputs,
        "outputs": inside.outputs,
        "widgets": [],
        "nodes": list(inside.nodes.values()),
        "groups": [],
        "links": inside.links,
        "extra": {},
        "category": blueprint.category,
        "description": blueprint.description,
    }
    extra = {"BlueprintDescription": blueprint.description, "BlueprintSearchAliases": list(blueprint.aliases)}
    return {
        "revision": 0,
        "last_node_id": HOST,
        "last_link_id": 0,
        "nodes": [outer_node(blueprint, inside)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": extra,
    }


def outer_node(blueprint: Blueprint, inside: Inside) -> dict:
    """The node on the canvas; newer editors read `previewExposures`, older ones `proxyWidgets` alone."""
    exposed = {"name": PREVIEW, "sourceNodeId": blueprint.preview, "sourcePreviewName": PREVIEW}
    properties = {
        "proxyWidgets": [[key, name] for _, key, name in inside.widgets],
        "previewExposures": [exposed] if blueprint.preview else [],
    }
    named = {end: {"widget": {"name": end}} for end, _, _ in inside.widgets}
    return {
        "id": HOST,
        "type": identity(blueprint),
        "pos": [0, 0],
        "size": [WIDTH, 60 + 26 * (len(inside.inputs))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": end["name"], "type": end["type"], "link": None, **named.get(end["name"], {})}
            for end in inside.inputs
        ],
        "outputs": [{"name": end["name"], "type": end["type"], "links": None} for end in inside.outputs],
        "title": blueprint.title,
        "properties": {**properties, "cnr_id": "puresvd"},
        "widgets_values": [inside.whole[key]["inputs"][name] for _, key, name in inside.widgets],
    }


def write(classes: dict) -> list:
    FOLDER.mkdir(exist_ok=True)
    written = []
    for blueprint in BLUEPRINTS:
        written.append(FOLDER / f"{blueprint.title}.json")
        made = json.dumps(blueprint_graph(blueprint, classes), indent=1)
        written[-1].write_text(made + "\n", encoding="utf-8")
    return written


if __name__ == "__main__":
    found = workflows.host_classes()
    workflows.write(found)
    write(found)
