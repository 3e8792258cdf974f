"""Run the tests against a real ComfyUI: [--slow] [--chromium] [--ray] [pytest arguments].

--chromium installs what the browser tests need, where apt-get and root allow it; CI=1 means the same.
--ray puts Ray into our own environment, for the slow tests of batches on a cluster.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command  # noqa: E402
from scripts import cache, environment, host, server  # noqa: E402

OURS = ("--slow", "--all", "--chromium", "--ray")
# a process a core, each with whole files: what a module starts, such as a server, is started once
SHARED_OUT = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")


def main(arguments: list[str]) -> int:
    slow = bool({"--slow", "--all"} & set(arguments))
    found = host.find()
    python = environment.prepare(found, tests=True)
    variables = {"OMP_NUM_THREADS": "1"} | cache.clean()  # tensors this small lose by sharing them out
    variables["PURESVD_HOST"] = str(found.path)
    if not found.python:  # an environment of ours serves these too
        older = [host.pinned(version) for version in host.ARCHIVES if version != host.PINNED]
        variables["PURESVD_OLDER_HOSTS"] = os.pathsep.join(map(str, older))
    if "--chromium" in arguments or os.environ.get("CI"):
        install_chromium()
    if "--ray" in arguments:
        install_ray(python, found)
    cache.say(f"ComfyUI {found.version} in {found.path}\nPython in {python}")
    rest = [argument for argument in arguments if argument not in OURS]
    line = [str(python), "-m", "pytest", *SHARED_OUT, *(["--slow"] if slow else []), *rest]
    tests = subprocess.Popen(line, cwd=cache.ROOT, env=variables, stdin=subprocess.DEVNULL)
    try:
        return tests.wait()
    except KeyboardInterrupt:
        server.stop(tests, patience=60.0)  # which stops the servers that they have started
        raise


def install_chromium() -> None:
    """Debian's package, where we may install it; elsewhere the browser tests say that it is missing."""
    named = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    if named or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    cache.say("installing chromium for the browser tests")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", "-qq", *step], env=quiet, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            cache.say("chromium could not be installed; the browser tests will say so")
            return


def install_ray(python: Path, found: host.Host) -> None:
    """Half a minute and 260 MB, so on request only, and never into a host's own Python."""
    if cache.ask(python, "import ray").returncode == 0:
        return
    if python == found.python:
        cache.say("Ray is not put into a host's own Python; its tests will be skipped")
        return
    cache.say("installing Ray for the tests of batches")
    wanted = cache.ROOT / "requirements-ray.txt"
    cache.run(python, "-m", "pip", "install", "-q", "-r", wanted, env=cache.clean())


if __name__ == "__main__":
    command.run(main)
