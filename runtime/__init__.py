"""Runtime environment of the programs: logging, health check, systemd, child processes, version."""
