"""The core model: Music2Latent, a consistency autoencoder (Pasini, Lattner, Fazekas, ISMIR 2024).

Read in this order: config, representation, layers, network, consistency, keys, checkpoint, noise, windows, compiled,
inference, autoencoder.
"""
