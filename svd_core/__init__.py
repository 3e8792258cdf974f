"""Stable Video Diffusion in plain PyTorch. Nothing is imported here, and nothing here knows ComfyUI.

The path of a video, and where it stands:

    checkpoint ──checkpoint──► networks     a file or folder is identified, checked, renamed and loaded
    photo ──conditioning──► Conditioning    CLIP token, unscaled latent, and three numbers as a vector
    noise ──sampling──► latents             noise levels, D(x; sigma) of EDM, guidance, steps of an ODE
    latents ──decode──► frames              the one-shot decode of the whole clip, in bounded memory
    frames ──frames──► frames               interpolation, deflicker, colour lock; no weights

`pipeline` walks it without a host. `control` changes what is asked of it: a denoiser, a Conditioning or
frames go in, and the same comes out. `adapters` reads LoRAs and ControlNets, `quality` measures clips.
`models` holds the networks, `signatures` the callables that the stages hand to one another; `training` made
the small checkpoint in `nano`.

A host may do two steps itself. ComfyUI preconditions, because users patch its `model_sampling`:
`sampling.denoiser` is the same equation, and a test holds them equal.
It also runs the two passes of guidance; the formula that joins them is `sampling.guidance` for both.

Axes, everywhere alike:

    b  videos                      h w  latent height and width
    t  frames of a video           H W  pixels: 8h and 8w
    n  b·t, rows video by video    s    tokens, h·w
    c  channels                    e    width of an embedding
    l  tokens of a context         d    width of an attention head
"""
