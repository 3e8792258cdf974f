"""PureSVD: Stable Video Diffusion as ComfyUI nodes."""

if __package__:  # empty when pytest collects the repository root
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
