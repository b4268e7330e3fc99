"""Sources of the tasks' items and labels: one dataset a module."""
