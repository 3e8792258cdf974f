"""One ComfyUI server over HTTP: upload, queue, follow, cancel, download."""

import http.client
import json
import mimetypes
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from clients import local, words

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ABSENCES = 2  # answers in a row that do not know a job, before it is taken for lost
BLOCK = 2**20  # bytes of a file that are in memory at a time
OnPoll = Callable[[dict[str, Any], float], None]


class Refused(ValueError):
    """The server did not accept a request, or a job ended without a result."""

    def __init__(self, sentence: str, *, code: int | None = None):
        super().__init__(sentence)
        self.code = code  # HTTP status, if there was one


class Unreachable(ConnectionError):
    """Nothing answers at the server's address."""


class Client:
    """One ComfyUI server; `timeout` is how many seconds one answer may take."""

    def __init__(self, server: str = "http://127.0.0.1:8188", *, timeout: float = 60.0):
        self.server = address(server)
        self.timeout = timeout

    def upload(self, file: Path, *, name: str | None = None) -> str:
        """Copy a photo or video into the server's input folder; returns the name its loaders know it by.

        A file of another content that has this name already stays: the server then chooses a free one.
        """
        mark, name = uuid.uuid4().hex, local.safe_name(name or file.name)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        part = f"--{mark}\r\nContent-Disposition: form-data; name="
        head = "".join(f'{part}"{key}"\r\n\r\n{value}\r\n' for key, value in FIELDS.items())
        head += f'{part}"image"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        ends = head.encode(), f"\r\n--{mark}--\r\n".encode()
        try:
            with open(file, "rb") as data:
                length = os.fstat(data.fileno()).st_size + sum(map(len, ends))
                headers = {
                    "Content-Type": f"multipart/form-data; boundary={mark}",
                    "Content-Length": str(length),
                }
                answer = self._json("/upload/image", _around(data, *ends), headers, key="name")
        except (Refused, Unreachable) as error:
            broken = isinstance(
                getattr(error.__cause__, "reason", None), (BrokenPipeError, ConnectionResetError)
            )
            if (
                broken or getattr(error, "code", None) == 413
            ):  # the second where the server still reads to the end
                raise Refused(TOO_LARGE.format(file=file, size=os.path.getsize(file) / 2**20)) from error
            raise
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror}); give a photo or video") from error
        return "/".join(filter(None, (answer.get("subfolder"), answer["name"])))

    def queue(self, prompt: dict[str, Any], *, job_id: str | None = None) -> str:
        """Queue a workflow in API format; returns its job id, the one given or a new one."""
        wanted = {"prompt": prompt, "client_id": uuid.uuid4().hex, "prompt_id": job_id or str(uuid.uuid4())}
        return self.post("/prompt", json.dumps(wanted).encode(), "application/json", key="prompt_id")[
            "prompt_id"
        ]

    def job(self, job_id: str) -> dict[str, Any] | None:
        """The job as the server sees it: status, outputs, execution_error; None: it knows no such job."""
        try:
            return self._json(f"/api/jobs/{job_id}", key="status")
        except Refused as error:
            if error.code != 404:
                raise
        return None

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        every: float = 0.5,
        patience: float = 60.0,
        on_poll: OnPoll = lambda job, seconds: None,
    ) -> dict[str, Any]:
        """Poll until the job ends and return it; on_poll(job, seconds so far) is called each time.

        `timeout` in seconds, None = none; `patience`: how long the server may be out of reach meanwhile.
        """
        start = answered = time.monotonic()
        absences = 0
        while True:
            try:
                job = self.job(job_id)
                answered = time.monotonic()
            except Unreachable:
                if time.monotonic() - answered > patience:
                    raise
                job = {"status": "no answer"}
            absences = 0 if job else absences + 1
            if absences == ABSENCES:
                raise Refused(GONE)
            seconds, status = time.monotonic() - start, job["status"] if job else "missing"
            on_poll(job or {"status": status}, seconds)
            if status == "completed":
                return job
            if status in ("failed", "cancelled"):
                raise Refused(words.of_failed(job))
            if timeout is not None and seconds > timeout:
                raise TimeoutError(f"the job is {status} after {seconds:.0f} s, allowed {timeout:g} s")
            time.sleep(every)

    def cancel(self, job_id: str, *, patience: float = 5.0) -> bool:
        """Take a job out of the queue, or stop it where it runs; other jobs are left alone.

        A running one stops at its next step: False if that has not come after `patience` seconds.
        """
        end = time.monotonic() + patience
        while True:  # the host forgets an interruption that comes before the first node
            for path, body in (("/queue", {"delete": [job_id]}), ("/interrupt", {"prompt_id": job_id})):
                self.post(path, json.dumps(body).encode(), "application/json")
            job = self.job(job_id)
            if not job or job["status"] not in ("pending", "in_progress"):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.2)

    def download(
        self, item: dict[str, str], folder: Path, *, name: str | None = None, overwrite: bool = False
    ) -> Path:
        """Fetch one output file of a job into a folder, under its own name or the one given.

        A name that is taken is left alone unless `overwrite`; the next free one is used.
        """
        query = urllib.parse.urlencode({key: item.get(key, "") for key in ("filename", "subfolder", "type")})
        target = folder / (name or local.safe_name(item["filename"]))
        try:
            with self._open(f"/view?{query}", None, None) as answer:
                with local.writing(target, overwrite=overwrite) as (file, made):
                    file.writelines(_blocks(answer, item["filename"]))
        except Refused as error:
            if error.code != 404:
                raise
            raise Refused(f"{item['filename']} was made, but is no longer on the server") from error
        return made

    def get(self, path: str) -> dict[str, Any]:
        return self._json(path)

    def post(self, path: str, body: bytes, content_type: str, *, key: str | None = None) -> dict[str, Any]:
        return self._json(path, body, {"Content-Type": content_type}, key=key)

    def _json(
        self,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """The answer, which must hold `key` where one is given."""
        with self._open(path, body, headers) as answer:
            try:
                text = answer.read()
            except (http.client.HTTPException, OSError) as error:
                raise Unreachable(f"{self.server} broke off its answer ({error!r})") from error
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or (key and key not in found):
            raise Refused(f"{self.server} is not a ComfyUI: {path} gave {text[:80]!r}")
        return found

    def _open(self, path: str, body: bytes | Iterable[bytes] | None, headers: dict[str, str] | None) -> Any:
        request = urllib.request.Request(self.server + path, body, headers or {})
        try:
            return NO_PROXY.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            sentence = words.of_refusal(error.code, error.read())
            if error.code == 405 or (error.code == 404 and body is not None):
                sentence = f"{self.server} is not a ComfyUI: {path} gave {sentence}"
            raise Refused(sentence, code=error.code) from error
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"no answer from {self.server} ({reason}); is a ComfyUI running there?"
            ) from error


FIELDS = {"overwrite": "false", "type": "input"}
TOO_LARGE = (
    "the server does not take {file}, which has {size:.0f} MB; ComfyUI takes 100 MB, or what its start option"
    " --max-upload-size says"
)
GONE = (
    "the job is no longer on the server: it was taken out of the queue or the history, or the server was "
    "started anew"
)


def address(server: str) -> str:
    """What a user typed as a server's address, with a scheme and without an end slash."""
    url = server if "://" in server else f"http://{server}"
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number
        good = False
    if not good or re.search(r"[\s\x00-\x1f?#]", url):
        raise ValueError(f"{server!r} is not a server's address; use one such as http://127.0.0.1:8188")
    return url.rstrip("/")


def _around(data: BinaryIO, head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    while block := data.read(BLOCK):
        yield block
    yield tail


def _blocks(answer: Any, name: str) -> Iterator[bytes]:
    """An answer's body; one that ends early is an error."""
    wanted, size = answer.headers.get("Content-Length"), 0
    try:
        while block := answer.read(BLOCK):
            size += len(block)
            yield block
    except (http.client.HTTPException, OSError) as error:
        raise Unreachable(f"the server broke off {name} ({error!r})") from error
    if wanted is not None and size != int(wanted):
        raise Unreachable(f"the server broke off {name} after {size} of {wanted} bytes")
