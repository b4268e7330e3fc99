"""What FAD and KAD listen with: embeddings of audio windows."""
