"""The HTTP client against a server of a few lines that answers as ComfyUI does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from clients import puresvd_client
from clients.comfyui import Client, Refused, Unreachable

ERROR = {"type": "validation", "message": "Prompt outputs failed validation", "details": ""}
WRONG_STEPS = {
    "class_type": "PureSVDSample",
    "errors": [{"message": "Value 0 smaller than min of 1", "details": "steps"}],
}
DONE = {"outputs": {"9": {"images": [{"filename": "a_1.mp4", "subfolder": "video", "type": "output"}]}}}
EVENT = {"node_type": "PureSVDDecode", "node_id": "5", "exception_message": "memory is -1\n"}
JOBS = {
    "bad": {"status": "failed", "outputs": {}, "execution_error": EVENT},
    "good": {"status": "completed", **DONE},
    "waiting": {"status": "pending"},
}


class Fake(BaseHTTPRequestHandler):
    """Job `bad` failed in a node; `GONE` in the prompt's name is a job that nobody knows."""

    def do_GET(self):
        kind, _, name = self.path.rpartition("/")
        if kind == "/api/jobs" and name in JOBS:
            self.reply(200, JOBS[name])
        elif self.path.startswith("/view?filename=a_1.mp4&subfolder=video"):
            self.reply(200, {"is": "video"})
        elif self.path.startswith("/view?filename=half.mp4"):
            self.reply(200, {"is": "video"}, missing=3)
        elif self.path == "/page":
            self.reply(200, "a page, not an object")
        else:
            self.reply(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            self.server.uploaded = body
            self.reply(200, {"name": "photo (1).jpg", "subfolder": self.server.subfolder})
        elif self.path != "/prompt":
            self.reply(404, {})
        elif json.loads(body)["prompt"]:
            self.reply(200, {"prompt_id": "good", "number": 1, "node_errors": {}})
        else:
            self.reply(400, {"error": ERROR, "node_errors": {"4": WRONG_STEPS}})

    def reply(self, code, answer, missing=0):
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data) + missing))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    server = HTTPServer(("127.0.0.1", 0), Fake)
    server.subfolder = ""
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
    assert b'name="overwrite"\r\n\r\nfalse\r\n' in server.uploaded
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}
    changed = puresvd_client.set_photo(graph, name)
    assert changed["1"]["inputs"]["image"] == "photo (1).jpg"
    assert graph["1"]["inputs"]["image"] == "example.png"
    job = client.wait(client.queue(changed), every=0.01)
    (item,) = puresvd_client.videos(job)
    assert client.download(item, tmp_path / "out").read_bytes() == b'{"is": "video"}'


def test_folder_that_the_server_chose_is_part_of_the_name(fake, tmp_path):
    client, server = fake
    server.subfolder = "today"
    (tmp_path / "a.jpg").write_bytes(b"")
    assert client.upload(tmp_path / "a.jpg") == "today/photo (1).jpg"


def test_refused_workflow_names_node_and_input(fake):
    with pytest.raises(Refused, match=r"PureSVDSample \(node 4\): Value 0 smaller than min of 1: steps"):
        fake[0].queue({})


def test_failed_job_gives_the_nodes_sentence(fake):
    with pytest.raises(Refused, match=r"PureSVDDecode \(node 5\): memory is -1$"):
        fake[0].wait("bad", every=0.01)


def test_job_that_never_ends_times_out(fake):
    with pytest.raises(TimeoutError, match="pending"):
        fake[0].wait("waiting", every=0.01, timeout=0.05)


def test_job_that_nobody_knows_ends_the_waiting(fake):
    with pytest.raises(Refused, match="no longer on the server"):
        fake[0].wait("unknown", every=0.01)


def test_file_names_from_the_server_cannot_leave_the_folder(fake, tmp_path, monkeypatch):
    client, _ = fake
    monkeypatch.setattr(client, "server", client.server + "/view?filename=a_1.mp4&subfolder=video&x=")
    item = {"filename": "../../evil.mp4", "subfolder": "", "type": "output"}
    assert client.download(item, tmp_path).parent == tmp_path


def test_file_that_breaks_off_is_not_kept(fake, tmp_path):
    item = {"filename": "half.mp4", "subfolder": "", "type": "output"}
    with pytest.raises(Unreachable, match="broke off half.mp4"):
        fake[0].download(item, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_kind_of_server_is_said(fake):
    with pytest.raises(Refused, match="is not a ComfyUI: /page gave"):
        fake[0].get("/page")
    fake[0].server += "/elsewhere"
    with pytest.raises(Refused, match="is not a ComfyUI: /prompt gave HTTP 404"):
        fake[0].queue({"1": {}})


def test_server_that_is_away_for_a_moment_is_waited_for(fake):
    client, server = fake
    polls = []

    def on_poll(job, seconds):
        polls.append(job["status"])
        JOBS["moment"] = JOBS["good"] if len(polls) > 3 else JOBS["waiting"]
        client.server = right if len(polls) > 2 else "http://127.0.0.1:9"  # where nothing answers

    right = client.server
    JOBS["moment"] = JOBS["waiting"]
    assert client.wait("moment", every=0.01, on_poll=on_poll)["status"] == "completed"
    assert polls == ["pending", "no answer", "no answer", "pending", "completed"]
    client.server = "http://127.0.0.1:9"
    with pytest.raises(Unreachable, match="is a ComfyUI running there"):
        client.wait("moment", every=0.01, patience=0.05)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("http://host/comfy/", "http://host/comfy"),
        ("[::1]:8188", "http://[::1]:8188"),
        ("https://host", "https://host"),
    ],
)
def test_address_may_be_short(typed, meant):
    assert Client(typed).server == meant


@pytest.mark.parametrize(
    "typed", ["", "http://", "file:///etc/passwd", "host:port", "host:99999", "a b", "h\n"]
)
def test_address_that_is_none_is_refused(typed, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"a")
    line = [str(tmp_path / "a.png"), "--server", typed, "--out", str(tmp_path)]
    assert puresvd_client.main(line) == 1
    assert "is not a server's address; use one such as" in capsys.readouterr().err


def test_nothing_at_the_address_is_one_sentence(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"a")
    line = [str(tmp_path / "a.png"), "--server", "127.0.0.1:9", "--out", str(tmp_path)]
    assert puresvd_client.main(line) == 1
    said = capsys.readouterr().err
    assert "no answer from http://127.0.0.1:9" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("photo", ["absent.png", "folder", "a.png", "a.png/b.png", "n" * 300])
def test_photo_that_is_no_file_is_said(photo, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert puresvd_client.main([str(tmp_path / photo), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert photo in said
    assert said.count("\n") == 1
