"""Probes: scikit-learn estimators over arrays; they know nothing of audio."""
