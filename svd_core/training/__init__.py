"""Training by the paper's stages, from autoencoder to image to video; and the embedded model.

Read `diffusion` for the loss, `loop` for a run that survives being killed, `camera` for
what the films show.
`python -m svd_core.training --help` lists the commands. Nothing is imported here.
"""
