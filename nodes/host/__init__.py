"""The host's MODEL, VAE, CLIP_VISION and GUIDER around our networks: the only place that imports `comfy`."""
