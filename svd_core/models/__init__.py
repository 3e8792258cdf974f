"""The networks: the U-Net, the autoencoder, the image encoder, and the layers they are built from."""
