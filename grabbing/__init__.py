"""What a grabber does for its cluster, from the question to DQM² to the rows in the database.

`grabber.py` is the daemon; these are its parts.

    what is asked     rounds: the machines in turn; sync: one of them; fetching, reach: its documents
    how it is asked   line: one question at a time; asking: those to a machine; turns: when each is due
    what comes of it  sifting, in sifters beside it; batch, writer, upserts: how it is written
    who does it       claim: one grabber a cluster; upkeep: what it does besides
    how it is told    heartbeat: to the pages; pulse, health, metrics: to supervisors; certificate_watch
"""
