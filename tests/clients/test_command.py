"""How a command ends: by a signal, by a terminal that has gone, by a reader that has gone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clients import command
from scripts import cache

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of another kind")

PATIENT = """
import pathlib, sys, time
sys.path.insert(0, ".")
from clients import command
def main(arguments):
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        time.sleep(0.5)
        pathlib.Path(arguments[0]).write_text("cleaned up")
command.run(main)
"""


def as_usual():
    """For a child of a test run whose own signals are ignored, as under nohup."""
    for number in command.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(code, *arguments, prepare=as_usual):
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        line, cwd=cache.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_unwinds_once_and_gives_its_status(tmp_path, name):
    number = getattr(signal, name)
    process = start(PATIENT, tmp_path / "end")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(number)  # an impatient second one
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert said == "stopped\n"
    assert (tmp_path / "end").read_text() == "cleaned up"


def test_nohup_is_respected(tmp_path):
    def ignore():
        as_usual()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(PATIENT, tmp_path / "end", prepare=ignore)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=20) == 143
    process.communicate()


def test_reader_that_has_gone_is_no_traceback():
    code = 'import sys; sys.path.insert(0, "."); from clients import command\n'
    code += "command.run(lambda arguments: [print(i, flush=True) for i in range(10**6)] and 0)"
    process = start(code)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=20) == 141
    process.stderr.close()


def test_names_that_are_not_text_come_out_as_they_went_in(tmp_path):
    code = 'import sys; sys.path.insert(0, "."); from clients import command\n'
    code += "command.run(lambda arguments: print(arguments[0]) or 0)"
    line = [sys.executable, "-c", code, b"\xff \xe5\x86\x99"]
    done = subprocess.run(line, cwd=cache.ROOT, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout == b"\xff \xe5\x86\x99\n"
