"""Parsing of settings: the `.env` file and the text of each variable."""
