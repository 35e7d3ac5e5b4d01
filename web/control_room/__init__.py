"""`/cr/`: the Control Room, in which experts send commands to DQM².

DQM² executes what it receives, so every command is validated, queued, sent once and recorded in the audit.
Full names of machines are shown here and nowhere else.

pages       commands, cluster_state: the main page; audit; mutes; receivers; shift_report
commands    command_validation, command_execution, command_sender, command_result
access      login, passwords, sessions, guards, csrf, client_identity
shared      blueprints: registration; services: one instance per application
"""
