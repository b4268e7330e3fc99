"""Where the audio and labels of a task come from."""
