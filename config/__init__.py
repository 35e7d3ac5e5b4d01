"""Parsing of settings: `.env`, and the text of each variable."""
