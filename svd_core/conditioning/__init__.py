"""What the U-Net is conditioned on, and how a photo becomes that."""
