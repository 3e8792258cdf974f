"""Promise: a widget pushed past its range over HTTP is refused by the host,
or by one sentence of ours on that node.
"""

import json
import time
import urllib.error
import urllib.request

import pytest

from clients.puresvd_client import NO_PROXY
from tests.contract.graphs import every_node
from tests.contract.strategies import TABLE
from tests.contract.test_properties import REMEDY

FAR = 10**30
NUMBERS = [-FAR, FAR, float("nan"), float("inf"), float("-inf"), "", "many", None, {}, [], True]
TEXTS = [None, 3, {}, [], True, "", "no such thing", "../../outside", "/outside", "a\0b", "x" * 5000]


def wrong_values(kind, options):
    if kind in ("INT", "FLOAT"):
        step = 1 if kind == "INT" else 0.001
        return [options["min"] - step, options["max"] + step, *NUMBERS]
    return TEXTS


def post(client, prompt, end):
    """Status and answer of a prompt of which only what leads to `end` is run."""
    body = json.dumps({"prompt": prompt, "partial_execution_targets": [end]}).encode()
    request = urllib.request.Request(f"{client.server}/prompt", body, {"Content-Type": "application/json"})
    try:
        with NO_PROXY.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def outcome(client, prompt, end):
    """`refused` by the host with its errors, or how the run ended."""
    status, answer = post(client, prompt, end)
    if status != 200:
        return "refused", answer
    end_of_patience = time.monotonic() + 60
    while not (entry := client.get(f"/history/{answer['prompt_id']}").get(answer["prompt_id"])):
        assert time.monotonic() < end_of_patience, "it hangs"
        time.sleep(0.01)
    events = dict(entry["status"]["messages"])
    return (
        ("failed", events["execution_error"]) if "execution_error" in events else ("done", entry["outputs"])
    )


@pytest.mark.parametrize("node_id", TABLE)
def test_wrong_widget_values_are_refused_in_words(node_id, running):
    prompt = every_node(running.photo)
    key = next(key for key, node in prompt.items() if node["class_type"] == node_id)
    prompt["end"] = {"class_type": "PreviewAny", "inputs": {"source": [key, 0]}}
    known = running.client.get(f"/object_info/{node_id}")[node_id]["input"]
    tried = 0
    for name, (kind, *options) in {**known["required"], **known.get("optional", {})}.items():
        if not isinstance(prompt[key]["inputs"].get(name), list) and name in prompt[key]["inputs"]:
            for value in wrong_values(kind, options[0] if options else {}):
                changed = json.loads(json.dumps(prompt))
                changed[key]["inputs"][name] = value
                check(*outcome(running.client, changed, "end"), key, name, value, kind)
                tried += 1
    assert tried >= len(TEXTS)


def check(ended, answer, key, name, value, kind):
    told = f"{name}={str(value)[:40]}: {ended} {str(answer)[:600]}"
    if ended == "done":  # the host takes True for 1, and any value for a text or a switch
        assert value is True or kind in ("STRING", "BOOLEAN"), told
    if ended == "refused":
        errors = answer.get("node_errors", {}).get(key, {}).get("errors", [])
        assert any(error["extra_info"].get("input_name") == name for error in errors), told
    if ended == "failed":
        assert answer["node_id"] == key, told
        assert answer["exception_type"] == "ValueError", told
        sentence = answer["exception_message"].strip()
        assert "\n" not in sentence, told
        assert REMEDY.search(sentence), told
