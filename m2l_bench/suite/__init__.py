"""A suite: which systems meet which data and metrics; its plan and its run."""
