"""What is fast, measured. Each prints a table and writes its figures as JSON; none of them is a test."""
