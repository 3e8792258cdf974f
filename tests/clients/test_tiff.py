"""Pages of a TIFF: counted, and said where a host leaves some out."""

import pytest
from PIL import Image

from clients import command, local, tiff


def write(path, pages, **options):
    first, *rest = [Image.new("RGB", (8, 6), (20 * i, 0, 0)) for i in range(pages)]
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("big", [False, True])
def test_pages_are_counted(tmp_path, pages, big):
    assert tiff.pages(write(tmp_path / "scan.tiff", pages, big_tiff=big)) == pages


def test_big_endian_thumbnail_is_not_a_page(tmp_path):
    page, thumbnail = (
        b"\0\1" + tag.to_bytes(2, "big") + b"\0\4\0\0\0\1" + value.to_bytes(4, "big")
        for tag, value in ((256, 1), (tiff.SUBFILE_TYPE, 1))
    )
    path = tmp_path / "scan.tif"
    path.write_bytes(b"MM\0\x2a\0\0\0\x08" + page + b"\0\0\0\x1a" + thumbnail + bytes(4))
    assert tiff.pages(path) == 1
    path.write_bytes(b"MM\0\x2a\0\0\0\x08" + page + b"\0\0\0\x1a" + page + bytes(4))
    assert tiff.pages(path) == 2


@pytest.mark.parametrize(
    "data", [b"", b"II", b"II*\0", b"\xff\xd8\xff", b"II*\0\xff\xff\xff\xff", b"II+\0" + b"\xff" * 12]
)
def test_other_and_broken_files_have_one_page(tmp_path, data):
    path = tmp_path / "photo"
    path.write_bytes(data)
    assert tiff.pages(path) == 1


def test_directories_in_a_circle_end(tmp_path):
    path = tmp_path / "scan.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0")
    assert tiff.pages(path) == 1


class Server:
    """A host that makes some videos of whatever it is given."""

    def __init__(self, videos):
        self.videos = videos

    def upload(self, source):
        return source.name

    def queue(self, prompt, *, job_id):
        return job_id

    def wait(self, job_id, *, timeout, on_poll):
        items = [{"filename": f"{i}.mp4", "type": "output", "subfolder": ""} for i in range(self.videos)]
        return {"status": "completed", "outputs": {"9": {"images": items}}}

    def download(self, item, folder, *, name, overwrite):
        return folder / name


@pytest.mark.parametrize(
    ("pages", "videos", "said"),
    [
        (
            3,
            1,
            "scan.tiff has 3 pages, but only 1 video was made; give pages left out as files of their own\n",
        ),
        (
            3,
            2,
            "scan.tiff has 3 pages, but only 2 videos were made; give pages left out as files of their own\n",
        ),
        (3, 3, ""),
        (1, 1, ""),
    ],
)
def test_pages_left_out_are_said_in_one_line(tmp_path, capsys, pages, videos, said):
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": ""}}}
    source = write(tmp_path / "scan.tiff", pages)
    made = list(command.make(Server(videos), prompt, source, local.Target(tmp_path)))
    assert len(made) == videos
    assert capsys.readouterr().err == said
