"""The core model: Music2Latent, a consistency autoencoder (Pasini, Lattner, Fazekas, ISMIR 2024)."""
