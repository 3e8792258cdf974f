"""Promise: what ran before does not matter; the next run's bytes equal a fresh server's."""

import asyncio
import itertools
import math

import aiohttp
import psutil
import pytest

from clients.puresvd_client import Refused
from tests.contract.graphs import graph, set_photo

LOAD, DESCRIBE, SAMPLE, DECODE = "2", "3", "4", "5"  # nodes of the graph
_marks = (f"run {i}" for i in itertools.count())  # each makes the server compute once more


def again(model="nano", **changes):
    return graph(model, remake=next(_marks), **changes)


def test_models_take_turns(running, alone):
    for model in ("random", "nano", "random", "nano"):
        assert running.make(again(model)).frames == alone[model].frames, model


FAILURES = {
    "conditioning": (
        {"augmentation_level": float("nan")},
        "PureSVDImageToVideo .* augmentation_level is nan",
    ),
    "sampling": ({"max_cfg": float("nan")}, "PureSVDSample .* max_cfg is nan"),
    "decode": ({"memory": 0.0001}, "PureSVDDecode .* raise the memory limit"),
}


@pytest.mark.parametrize("stage", FAILURES)
def test_failed_run_leaves_nothing_behind(stage, running, alone):
    changes, sentence = FAILURES[stage]
    with pytest.raises(Refused, match=sentence):
        running.make(again(**changes))
    assert running.make(again()).frames == alone["nano"].frames


def test_file_deleted_after_listing_fails_in_one_sentence_and_leaves_nothing_behind(running, alone):
    path = running.server.base / "models" / "checkpoints" / "deleted.safetensors"
    path.write_bytes(b"")
    running.client.get("/object_info/PureSVDLoadCheckpoint")  # lists it
    prompt = again()
    prompt[LOAD]["inputs"]["ckpt_name"] = path.name
    with pytest.raises(Refused, match="deleted.safetensors is empty"):
        running.make(prompt)
    path.unlink()
    with pytest.raises(Refused, match="PureSVDLoadCheckpoint .*deleted.safetensors"):
        running.make(prompt)
    assert running.make(again()).frames == alone["nano"].frames


async def cancelled(running, prompt, node):
    """Cancel as soon as the node is at work; returns the last event of the run."""
    own = "cancels"
    async with (
        aiohttp.ClientSession(running.client.server) as session,
        session.ws_connect(f"/ws?clientId={own}") as events,
        session.post(
            "/prompt", json={"prompt": set_photo(prompt, running.photo), "client_id": own}
        ) as queued,
    ):
        assert queued.status == 200, await queued.text()
        async for message in events:
            event = message.json() if message.type == aiohttp.WSMsgType.TEXT else {"type": "preview"}
            if event["type"] == "executing" and event["data"]["node"] == node:
                await session.post("/interrupt")
            if event["type"] in ("execution_interrupted", "execution_success", "execution_error"):
                return event
    raise AssertionError("the server closed the connection")


LONG = {LOAD: {}, SAMPLE: {"steps": 1000}, DECODE: {"width": 256, "height": 256, "frames": 8, "steps": 1}}
NOTICED = {
    LOAD: (LOAD, DESCRIBE)
}  # a small file may be loaded before the cancel arrives; then the next node stops


@pytest.mark.parametrize("node", LONG)
def test_cancelled_run_leaves_nothing_behind(node, running, alone):
    prompt = again(**LONG[node])
    if node == LOAD:
        prompt[LOAD]["inputs"]["remake"] = next(_marks)  # else it is not loaded again
    last = asyncio.run(asyncio.wait_for(cancelled(running, prompt, node), timeout=60))
    assert last["type"] == "execution_interrupted"
    assert last["data"]["node_id"] in NOTICED.get(node, (node,))
    assert running.make(again()).frames == alone["nano"].frames


def memory(server):
    port = server.client.server.rpartition(":")[2]
    (process,) = [child for child in psutil.Process().children() if port in child.cmdline()]
    return process.memory_info().rss


@pytest.mark.slow
def test_fifty_runs_leave_memory_where_it_was(start):
    """Resident memory after each run: it may not even keep as much as its frames (6 KB were measured)."""
    with start() as running:
        for seed in range(50, 55):  # the first ones load libraries and grow the pools of the allocator
            running.make(graph(seed=seed))
        before = memory(running.server)
        for seed in range(50):
            made = running.make(graph(seed=seed))
        grown = memory(running.server) - before
    assert abs(grown) < 0.05 * before
    assert grown < 50 * 4 * math.prod(made.manifest["frames"]["shape"])
