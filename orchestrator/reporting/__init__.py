"""Progress and results of a sweep: comparison, tables, figures, files."""
