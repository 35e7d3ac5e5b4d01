"""Demo: all of the mirror on one machine, with a simulated DQM² and an embedded PostgreSQL."""
