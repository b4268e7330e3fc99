"""The compared families at a scale that this package trains itself: shrunk networks, their losses, one system for all.

Each is *in the style of* what it is named after and never stands for the original: one or a few million parameters,
44.1 kHz, every channel coded alone, 64 values per 4,096 samples (10.77 Hz, 64 times fewer values than samples).
"""
