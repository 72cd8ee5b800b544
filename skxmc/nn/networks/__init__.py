"""The networks of the five papers, one a file."""
