"""More motion from the embedded model on photographs it was never trained on: by strength."""

from statistics import mean

import pytest

from svd_core import pipeline
from svd_core.training.photographs import JUDGING
from tests import motion_of_nano as nano

for package in ("skimage", "sklearn"):
    pytest.importorskip(package)
SIZE = 128  # pixels


@pytest.fixture(scope="module")
def svd():
    return pipeline.load(nano.FILE)


@pytest.mark.slow
def test_speed_rises_with_strength_at_the_same_first_frame(svd):
    reports = {
        (name, strength): nano.report(svd, nano.Asked(name, strength=strength, size=SIZE))
        for name in JUDGING
        for strength in (0.0, 0.5, 1.0)
    }
    speeds = {key: found["motion"]["speed"] for key, found in reports.items()}
    for name in JUDGING:
        assert speeds[name, 0.0] < speeds[name, 0.5] < speeds[name, 1.0], name
    assert all(found["motion"]["counts"] for found in reports.values())
    before, after = (mean(reports[n, s]["photo"]["psnr_first"] for n in JUDGING) for s in (0.0, 1.0))
    assert abs(after - before) < 1  # dB
