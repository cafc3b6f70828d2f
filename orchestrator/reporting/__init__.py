"""What a sweep came to, and how far it is: results, comparison, tables, figures, files."""
