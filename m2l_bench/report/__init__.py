"""Reports: tables, figures and the listening page, as pure functions of stored results."""
