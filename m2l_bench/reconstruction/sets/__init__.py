"""Distances between a set of references and a set of estimates: arrays in, numbers out."""
