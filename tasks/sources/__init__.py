"""Where a task's items come from: a source lists them, and gives the labels of one split when asked."""
