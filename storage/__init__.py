"""The middle of the house: what the mirror keeps, between DQM² (`dqm2/`) and the browser (`web/`).

    grabbing        what a grabber does: asks DQM², sifts what it answers, writes it down, tells that it lives
    reading         what pages and API read, in which states it is, and that it has changed
    control_room    what the Control Room keeps: sessions, tries to sign in, the line of commands, the audit

What these share stands beside them: the records and how they are packed, and what each database knows of
itself, of its machines and of the links to them.
"""
