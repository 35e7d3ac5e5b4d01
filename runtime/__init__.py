"""Runtime environment of the programs.

logging      logging_setup
health       healthcheck, systemd_notify
processes    run_all: server and grabbers as one program; supervisor, die_with_parent, spawn
memory       malloc
version      version
"""
