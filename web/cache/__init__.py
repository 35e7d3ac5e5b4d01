"""What is read and made once for all visitors, and holds until PostgreSQL tells of a change.

Pages and API know of it only that they mark their views by `grounds`.

    what was read     kept_reader: it, and the last of it while the database is away
    what was made     kept_answers: answers as they went out; grounds: what each of them stands on
    what is made      flights: once, though many want it at the same moment
"""
