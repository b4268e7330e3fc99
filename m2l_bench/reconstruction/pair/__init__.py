"""Metrics of one reference and one estimate, one per module."""
