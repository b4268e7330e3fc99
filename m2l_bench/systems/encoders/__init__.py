"""Encoders without a decoder: what FAD and KAD listen with, and the reference rows of every table of probes."""
