"""Moûsai v2 and v3, diffusion autoencoders of magnitude spectrograms, with the published weights."""
