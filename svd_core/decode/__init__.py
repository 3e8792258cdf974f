"""From latents to frames, exactly, in bounded memory."""
