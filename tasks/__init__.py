"""What a frozen latent knows: tasks, each with its source, split, kind and main metric."""
