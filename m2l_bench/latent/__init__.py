"""An autoencoder's latent space, measured without labels: pure functions of arrays and systems, and their cards."""
