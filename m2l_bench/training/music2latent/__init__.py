"""Consistency training of Music2Latent: recipe, loss, and the objective for the shared trainer."""
