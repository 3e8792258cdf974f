"""Broken and foreign files: each is refused in one sentence that names the file and says what to do."""

import json
import os
import pickle
import re
import time
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svd_core.checkpoint.header import MAX_HEADER, MAX_TENSORS, open_tensors, read_header
from svd_core.checkpoint.read import read
from svd_core.checkpoint.write import write_safetensors


def raw(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def many(count):
    return raw({f"t{i}": entry((0,), (0, 0)) for i in range(count)})


WHOLE = raw({"a": entry()}, bytes(8))
BROKEN = {
    "empty": (b"", "is empty"),
    "seven_bytes": (b"\x01\x02\x03\x04\x05\x06\x07", "is cut off"),
    "cut_header": (WHOLE[:20], "is cut off inside its header"),
    "cut_body": (WHOLE[:-3], "is cut off: it holds 5 of 8 bytes"),
    "extra_body": (WHOLE + b"..", "2 bytes follow its last tensor"),
    "no_header": (bytes(100), "announces a header of 0 bytes"),
    "huge_header": ((1 << 62).to_bytes(8, "little") + b"{" + bytes(50), "announces a header of 4,611,686"),
    "header_just_too_big": ((MAX_HEADER + 1).to_bytes(8, "little") + b"{}", "announces a header"),
    "noise": (bytes(range(128, 256)) * 8, "is not a safetensors file"),
    "many_entries": (many(100_000), "100,000 tensors"),
    "bad_json": (raw(b'{"a": '), "damaged header"),
    "bad_utf8": (raw(b'{"\xff\xfe": 1}'), "damaged header"),
    "deep": (raw(b'{"a":' * 50_000), "damaged header"),
    "deep_lists": (raw(b'{"a":' + b"[" * 200_000), "damaged header"),
    "bracket_bomb": (raw(b'{"a":[' + b"[]," * 1_500_000 + b"[]]}"), "lists in its header"),
    "long_number": (
        raw(b'{"a":{"dtype":"F32","shape":[' + b"9" * 9999 + b'],"data_offsets":[0,8]}}'),
        "impossible shape",
    ),
    "twins": (
        raw(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}', bytes(8)),
        "a appears twice",
    ),
    "no_dtype": (raw({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), "lacks its dtype"),
    "entry_is_number": (raw({"a": 3}), "lacks its dtype"),
    "unknown_dtype": (raw({"a": entry(dtype="Q4_K")}, bytes(8)), "stores a as Q4_K"),
    "dtype_is_list": (raw({"a": entry(dtype=["F32"])}, bytes(8)), "stores a as"),
    "lying_offsets": (raw({"a": entry(offsets=(0, 4))}, bytes(4)), "claims 4 bytes"),
    "negative_offsets": (raw({"a": entry(offsets=(-8, 0))}, bytes(8)), "impossible offsets"),
    "three_offsets": (raw({"a": entry(offsets=(0, 4, 8))}, bytes(8)), "impossible offsets"),
    "overlap": (raw({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "overlaps another"),
    "gap": (raw({"a": entry(), "b": entry(offsets=(16, 24))}, bytes(24)), "leaves a gap"),
    "overflow_shape": (raw({"a": entry((1 << 32, 1 << 32))}, bytes(8)), "claims 8 bytes"),
    "overflow_with_zero": (raw({"a": entry((0, 1 << 39, 1 << 39), (0, 0))}), "claims 0 bytes"),
    "huge_dimension": (raw({"a": entry((1 << 62,))}, bytes(8)), "impossible shape"),
    "true_shape": (raw({"a": entry((True, 2))}, bytes(8)), "impossible shape"),
    "many_axes": (raw({"a": entry((1,) * 64, (0, 4))}, bytes(4)), "impossible shape"),
    "metadata_number": (raw({"__metadata__": {"x": 1}}), "metadata must be text"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 4779\n", "Git LFS pointer"),
    "html": (b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "json": (b'{"error": "Access to model is restricted"}', "JSON text"),
    "gguf": (b"GGUF" + bytes(60), "GGUF"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "gzip"),
    "renamed_pickle": (pickle.dumps({"state_dict": {}}, protocol=2), "is a pickle"),
}


@pytest.fixture
def file(tmp_path):
    def write(content, name="bad.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def refusal(path, **kw):
    """The one sentence that a file is refused with, in bounded time."""
    start = time.process_time()
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the sentence is checked by the caller
        read(path, **kw)
    assert time.process_time() - start < 2
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 700
    assert caught.value.__cause__ is None
    return sentence


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_file_is_diagnosed(fault, file):
    content, expected = BROKEN[fault]
    path = file(content)
    sentence = refusal(path)
    assert sentence.startswith(str(path))
    assert expected in sentence
    assert re.search(r"[;:] .*(download|choose|use|convert|run|log in|save|unpack)", sentence), "no remedy"


@pytest.mark.parametrize("name", ["old.ckpt", "old.pt", "old.pth", "renamed.safetensors"])
def test_pickle_is_refused_without_being_opened(name, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os._exit, (1,))

    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    assert "torch.load" in refusal(path)
    path.write_bytes(pickle.dumps(Bomb()))
    assert "weights_only=True" in refusal(path)


def test_textual_pickle_is_known_by_its_ending(file):
    assert "is a pickle" in refusal(file(b"(dp0\nS'state_dict'\np1\n.", "old.ckpt"))


def test_absent_dangling_and_odd_paths(tmp_path):
    assert "does not exist" in refusal(tmp_path / "gone.safetensors")
    dangling = tmp_path / "link.safetensors"
    dangling.symlink_to(tmp_path / "nowhere.safetensors")
    assert "nowhere.safetensors, which does not exist" in refusal(dangling)
    loop = tmp_path / "loop.safetensors"
    loop.symlink_to(loop)
    assert "cannot be opened" in refusal(loop)
    assert "cannot be opened" in refusal("nul\0byte.safetensors")
    assert "cannot be opened" in refusal(tmp_path / ("x" * 5000))
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert "is a folder without unet, vae and image_encoder" in refusal(folder)
    with pytest.raises(ValueError, match="is a folder; choose a .safetensors file"):
        read_header(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "not a regular file" in refusal(tmp_path / "pipe.safetensors")


def test_links_to_files_are_followed(tmp_path, file):
    (tmp_path / "link.safetensors").symlink_to(file(WHOLE, "blob"))
    assert open_tensors(tmp_path / "link.safetensors")[0]["a"].tolist() == [0, 0]


def test_names_from_files_are_shown_short_and_on_one_line(file):
    name = "a\nb\x1b[31m" + "x" * 5000
    assert refusal(file(raw({name: 3}))).count("x") < 200


def test_workflow_in_the_metadata_is_no_fault(tmp_path):
    workflow = json.dumps({"nodes": [{"id": i, "inputs": [[], []]} for i in range(20_000)]})
    write_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {"workflow": workflow})
    assert open_tensors(tmp_path / "a.safetensors")[1]["workflow"] == workflow


def test_as_many_tensors_as_allowed_are_read(file):
    assert len(read_header(file(many(MAX_TENSORS))).tensors) == MAX_TENSORS


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint8]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_written_files_are_read_back_mapped_and_equal(dtype, tmp_path):
    g = torch.Generator().manual_seed(0)
    tensors = {
        f"t{i}": (torch.rand(shape, generator=g) * 9).to(dtype)
        for i, shape in enumerate([(3,), (), (0, 2), (2, 5)])
    }
    tensors["odd"] = torch.ones(3, dtype=torch.uint8)
    write_safetensors(tmp_path / "a.safetensors", tensors, {"format": "pt"})
    found, metadata = open_tensors(tmp_path / "a.safetensors")
    assert metadata == {"format": "pt"}
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors"]
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].float().equal(tensor.float())


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_damage_gives_a_sentence_or_the_file(tmp_path_factory, data):
    """Flip, cut and insert bytes anywhere: either still a readable file, or a ValueError."""
    content = bytearray(
        raw({"__metadata__": {"k": "v"}, "a": entry(), "b": entry((1, 2), (8, 16))}, bytes(16))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                content[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.mktemp("fuzz") / "f.safetensors"
    path.write_bytes(bytes(content))
    try:
        open_tensors(path)
        sentence = str(path)
    except ValueError as fault:
        sentence = str(fault)
    assert str(path) in sentence
