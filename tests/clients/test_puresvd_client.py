"""The HTTP client against a server of a few lines that answers as ComfyUI does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from clients import puresvd_client
from clients.puresvd_client import Client, Refused

ERROR = {"type": "validation", "message": "Prompt outputs failed validation", "details": ""}
WRONG_STEPS = {
    "class_type": "PureSVDSample",
    "errors": [{"message": "Value 0 smaller than min of 1", "details": "steps"}],
}
DONE = {"outputs": {"9": {"images": [{"filename": "a_1.mp4", "subfolder": "video", "type": "output"}]}}}


class Fake(BaseHTTPRequestHandler):
    """Jobs exist only through /history, as on old hosts; job `bad` failed in a node."""

    def do_GET(self):
        if self.path.startswith("/history/bad"):
            event = {"node_type": "PureSVDDecode", "node_id": "5", "exception_message": "memory is -1\n"}
            status = {"status_str": "error", "messages": [["execution_error", event]]}
            self.reply(200, {"bad": {"outputs": {}, "status": status}})
        elif self.path.startswith("/history/good"):
            self.reply(200, {"good": DONE | {"status": {"status_str": "success", "messages": []}}})
        elif self.path.startswith("/history/"):
            self.reply(200, {})
        elif self.path.startswith("/view?filename=a_1.mp4&subfolder=video"):
            self.reply(200, {"is": "video"})
        else:
            self.reply(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            self.server.uploaded = body
            self.reply(200, {"name": "photo (1).jpg"})
        elif json.loads(body)["prompt"]:
            self.reply(200, {"prompt_id": "good", "number": 1, "node_errors": {}})
        else:
            self.reply(400, {"error": ERROR, "node_errors": {"4": WRONG_STEPS}})

    def reply(self, code, answer):
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    server = HTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Client(f"http://127.0.0.1:{server.server_port}/"), server
    server.shutdown()
    server.server_close()


def test_photo_becomes_a_downloaded_file(fake, tmp_path):
    client, server = fake
    photo = tmp_path / 'of "us".jpg'
    photo.write_bytes(b"\xff\xd8jpeg")
    name = client.upload(photo)
    assert b"\xff\xd8jpeg" in server.uploaded
    assert b'filename="of _us_.jpg"' in server.uploaded
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}
    changed = puresvd_client.set_photo(graph, name)
    assert changed["1"]["inputs"]["image"] == "photo (1).jpg"
    assert graph["1"]["inputs"]["image"] == "example.png"
    job = client.wait(client.queue(changed), every=0.01)
    (item,) = puresvd_client.videos(job)
    assert client.download(item, tmp_path / "out").read_bytes() == b'{"is": "video"}'


def test_refused_workflow_names_node_and_input(fake):
    with pytest.raises(Refused, match=r"PureSVDSample \(node 4\): Value 0 smaller than min of 1: steps"):
        fake[0].queue({})


def test_failed_job_gives_the_nodes_sentence(fake):
    with pytest.raises(Refused, match=r"PureSVDDecode \(node 5\): memory is -1$"):
        fake[0].wait("bad", every=0.01)


def test_job_that_never_ends_times_out(fake):
    with pytest.raises(TimeoutError, match="pending"):
        fake[0].wait("unknown", every=0.01, timeout=0.05)


def test_file_names_from_the_server_cannot_leave_the_folder(fake, tmp_path, monkeypatch):
    client, _ = fake
    monkeypatch.setattr(client, "server", client.server + "/view?filename=a_1.mp4&subfolder=video&x=")
    item = {"filename": "../../evil.mp4", "subfolder": "", "type": "output"}
    assert client.download(item, tmp_path).parent == tmp_path
