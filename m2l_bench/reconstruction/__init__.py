"""Reconstruction evaluators: how far an estimate lies from its reference."""
