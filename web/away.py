"""That a cluster's database can't answer, as every room knows it."""


class DatabaseAway(Exception):
    """A cluster's database can't answer now; the message is a sentence that everyone may read."""
