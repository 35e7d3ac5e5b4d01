"""Runtime environment of the programs.

logging      logging_setup
health       healthcheck, systemd_notify
processes    run_all: server and grabbers as one program; supervisor, die_with_parent, signal_mask,
             main_module
memory       malloc
version      version
"""
