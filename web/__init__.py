"""The near side: everything that a browser sees."""
