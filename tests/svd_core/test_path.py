"""How much code runs between `pipeline.sample` and the tensors: counted,
because it is what a reader has to read.
"""

import sys
from pathlib import Path

import torch

from svd_core import pipeline
from svd_core.checkpoint.load import SVD
from svd_core.checkpoint.presets import Preset
from svd_core.checkpoint.report import Report

from . import references

CORE = Path(pipeline.__file__).parent


def functions_run(job):
    """(file, function) of the core for every named function that job calls."""
    seen = set()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(CORE)) and not code.co_name.startswith("<"):
            seen.add((Path(code.co_filename).relative_to(CORE).as_posix(), code.co_name, code.co_firstlineno))

    sys.setprofile(note)
    try:
        job()
    finally:
        sys.setprofile(None)
    return seen


def sample():
    preset = Preset("tiny", frames=2, width=64, height=64, steps=2, min_cfg=1.0, max_cfg=2.0)
    svd = SVD(references.unet(), references.vae(), references.clip(), preset, Report("random weights"))
    condition = pipeline.encode(svd, torch.zeros(1, 3, 64, 64))
    return functions_run(lambda: pipeline.sample(svd, condition))


def test_sampling_takes_few_files_and_functions():
    """Six files and thirty functions down to the network, whose own layers are counted by themselves."""
    ran = sample()
    path = {call for call in ran if not call[0].startswith("models/")}
    network = ran - path
    assert len({file for file, *_ in path}) <= 6, sorted(path)
    assert len(path) <= 30, sorted(path)
    assert len({file for file, *_ in network}) <= 7, sorted(network)
    assert len(network) <= 40, sorted(network)
