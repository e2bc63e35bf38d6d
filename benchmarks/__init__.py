"""One script per question. Each prints a table and ends with one JSON line."""
