"""Screenshots of the pages and their Lighthouse scores, taken from a running demo."""
