"""PureSVD: Stable Video Diffusion as ComfyUI nodes."""

from importlib.util import find_spec

if __package__ and find_spec("comfy_api"):  # neither holds when pytest collects the repository root
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
