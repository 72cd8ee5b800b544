"""The networks of the five papers, one in each file."""
