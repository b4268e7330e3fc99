"""Musika's 44.1 kHz autoencoder in PyTorch, with the published Keras weights."""
