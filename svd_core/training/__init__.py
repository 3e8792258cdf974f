"""Training by the paper's stages: autoencoder, images, video, high-quality image to video;
and the embedded model.

Read `diffusion` for the loss, `loop` for a run that survives being killed, `camera` for
what the films show.
`python -m svd_core.training --help` lists the commands. Nothing is imported here.
"""
