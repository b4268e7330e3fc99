"""Reports: tables, figures, the report page and the listening page, as pure functions of stored results."""
