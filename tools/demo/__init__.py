"""The demo: the whole mirror on one machine, against a DQM² and a PostgreSQL that it brings along."""
