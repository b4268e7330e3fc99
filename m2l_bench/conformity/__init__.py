"""``m2l-bench check``: whether a system keeps the promises of its protocols, and how it behaves."""
