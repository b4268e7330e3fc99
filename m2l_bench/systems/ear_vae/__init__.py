"""EAR-VAE and EAR-VAE2."""
