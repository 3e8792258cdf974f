"""Stable Video Diffusion in plain PyTorch: checkpoint -> conditioning -> sampling -> decode -> frames.

Read `precond` for the model's equation, `sampling` for the ODE, `unet` and `vae` for the networks, `decode` for
the exact decoder in bounded memory. Nothing is imported here and nothing in this package knows ComfyUI.
"""
