"""Names and shapes of the released files, from tests/data/keys, as tensors without memory."""

from pathlib import Path

import torch

from tests.make_checkpoint import ADM, UNET, VISUAL

KEYS = Path(__file__).parent.parent / "data" / "keys"


def rows(name):
    lines = (KEYS / f"{name}.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def meta(shape):
    return torch.empty(
        [int(n) for n in shape.split("x")] if shape != "-" else [], device="meta", dtype=torch.float16
    )


def full_width(kind):
    """Every tensor of a released file, on the meta device."""
    vae = {"svd": "vae", "svd_image_decoder": "image_decoder_vae"}.get(kind, "sv3d_vae")
    tensors = {UNET + name: meta(shape) for name, _, shape in rows("unet")}
    tensors[UNET + "label_emb.0.0.weight"] = meta(f"1280x{ADM.get(kind, 768)}")
    tensors |= {row[0]: meta(row[2] if vae == "vae" else row[1]) for row in rows(vae)}
    tensors |= {VISUAL + name: meta(shape) for name, shape, *_ in rows("clip")}
    return tensors | {name: meta(shape) for name, shape in rows("clip_text_leftovers")}
