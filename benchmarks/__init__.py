"""One script a question: each prints a table and ends with one JSON line."""
