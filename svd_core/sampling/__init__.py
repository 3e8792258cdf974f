"""From noise to latents: noise levels, the denoiser D(x; sigma), guidance, and one function per sampler."""
