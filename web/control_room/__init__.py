"""`/cr/`: the Control Room, in which experts send commands to DQM².

DQM² executes what it receives, so every command is validated, queued, sent once and recorded in the audit.
Full names of machines are shown here and nowhere else.
"""
