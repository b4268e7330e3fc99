"""Metrics of one reference and one estimate, one a module."""
