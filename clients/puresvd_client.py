"""Photo to video over ComfyUI's HTTP interface with the standard library only.

python puresvd_client.py photo.jpg [--server http://127.0.0.1:8188] [--workflow FILE] [--out FOLDER]
"""

import argparse
import json
import mimetypes
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "api" / "image_to_video.json"
VIDEO = (".mp4", ".webm", ".webp", ".mov", ".mkv", ".gif")
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refused(ValueError):
    """The server did not accept the workflow, or it failed while running."""


class Client:
    """One ComfyUI server."""

    def __init__(self, server: str = "http://127.0.0.1:8188", *, timeout: float = 60.0):
        self.server = server.rstrip("/")
        self.timeout = timeout

    def upload(self, photo: Path, *, name: str | None = None) -> str:
        """Copy a photo into the server's input folder; returns the name LoadImage knows it by."""
        name = name or photo.name
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        fields = {"overwrite": "true", "type": "input"}
        body, header = _multipart(fields, "image", name, kind, photo.read_bytes())
        return self.post("/upload/image", body, header)["name"]

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a workflow in API format; returns its job id."""
        body = json.dumps({"prompt": prompt, "client_id": uuid.uuid4().hex}).encode()
        return self.post("/prompt", body, "application/json")["prompt_id"]

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the server sees it: status, outputs, execution_error."""
        try:
            return self.get(f"/api/jobs/{job_id}")
        except urllib.error.HTTPError as error:  # also how a host without this route answers
            if error.code != 404:
                raise
        history = self.get(f"/history/{job_id}").get(job_id)
        return _from_history(history) if history else {"status": "pending"}

    def wait(
        self,
        job_id: str,
        *,
        timeout: float = 3600.0,
        every: float = 0.5,
        on_poll: Callable[[dict[str, Any], float], None] = lambda job, seconds: None,
    ) -> dict[str, Any]:
        """Poll until the job ends and return it; on_poll(job, seconds so far) is called each time."""
        start = time.monotonic()
        while True:
            job, seconds = self.job(job_id), time.monotonic() - start
            on_poll(job, seconds)
            if job["status"] == "completed":
                return job
            if job["status"] in ("failed", "cancelled"):
                raise Refused(_why(job))
            if seconds > timeout:
                raise TimeoutError(f"the job is {job['status']} after {seconds:.0f} s, allowed {timeout:.0f}")
            time.sleep(every)

    def download(self, item: dict[str, str], folder: Path) -> Path:
        """Fetch one output file of a job into a folder."""
        query = urllib.parse.urlencode({key: item.get(key, "") for key in ("filename", "subfolder", "type")})
        target = folder / Path(item["filename"]).name
        folder.mkdir(parents=True, exist_ok=True)
        with self._open(urllib.request.Request(f"{self.server}/view?{query}")) as answer:
            target.write_bytes(answer.read())
        return target

    def get(self, path: str) -> dict[str, Any]:
        with self._open(urllib.request.Request(self.server + path)) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        request = urllib.request.Request(self.server + path, body, {"Content-Type": content_type})
        try:
            with self._open(request) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(_sentence(error.code, error.read())) from error
        return json.loads(text) if text else {}

    def _open(self, request: urllib.request.Request) -> Any:
        return NO_PROXY.open(request, timeout=self.timeout)


def videos(job: dict[str, Any]) -> list[dict[str, str]]:
    """The video files among a job's outputs, in node order."""
    lists = [items for node in job.get("outputs", {}).values() for items in node.values()]
    files = [item for items in lists if isinstance(items, list) for item in items if isinstance(item, dict)]
    return [item for item in files if item.get("filename", "").lower().endswith(VIDEO)]


def set_photo(prompt: dict[str, Any], name: str) -> dict[str, Any]:
    """The workflow with its LoadImage nodes reading this input file; the one given stays as it is."""
    changed = json.loads(json.dumps(prompt))
    for node in changed.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
    return changed


def _multipart(fields: dict[str, str], key: str, name: str, kind: str, data: bytes) -> tuple[bytes, str]:
    mark = uuid.uuid4().hex
    part = f"--{mark}\r\nContent-Disposition: form-data; name="
    text = "".join(f'{part}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
    safe = name.replace('"', "_").replace("\r", "").replace("\n", "")
    text += f'{part}"{key}"; filename="{safe}"\r\nContent-Type: {kind}\r\n\r\n'
    body = text.encode() + data + f"\r\n--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"


def _from_history(entry: dict[str, Any]) -> dict[str, Any]:
    """A history entry in the shape of a job, for hosts without /api/jobs."""
    status = entry.get("status") or {}
    events = dict(status.get("messages") or [])
    ended = "failed" if status.get("status_str") == "error" else "completed"
    if "execution_interrupted" in events:
        ended = "cancelled"
    return {"status": ended, "outputs": entry["outputs"], "execution_error": events.get("execution_error")}


def _why(job: dict[str, Any]) -> str:
    error = job.get("execution_error")
    if job["status"] == "cancelled" or not error:
        return f"the job was {job['status']}"
    return f"{error['node_type']} (node {error['node_id']}): {error['exception_message'].strip()}"


def _sentence(code: int, body: bytes) -> str:
    """What the server said about a refused request, one line for each wrong input."""
    try:
        answer = json.loads(body)
        lines = [
            f"{node['class_type']} (node {key}): {error['message']}: {error['details']}"
            for key, node in (answer.get("node_errors") or {}).items()
            for error in node["errors"]
        ]
        error = answer["error"]
        return "\n".join(lines) or f"{error['message']} {error['details']}".strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {code}: {body.decode(errors='replace').strip()[:300]}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Turn a photo into a video on a running ComfyUI.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, help="a workflow in API format")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder the video is written to")
    args = parser.parse_args(arguments)
    client = Client(args.server)
    try:
        prompt = json.loads(args.workflow.read_text(encoding="utf-8"))
        job = client.wait(client.queue(set_photo(prompt, client.upload(args.photo))), on_poll=_show)
    except (Refused, TimeoutError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    for item in videos(job):
        print(client.download(item, args.out))
    return 0


def _show(job: dict[str, Any], seconds: float) -> None:
    end = "\n" if job["status"] == "completed" else ""
    print(f"\r{job['status']:<12}{seconds:6.1f} s", end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
