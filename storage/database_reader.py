"""Base of the readers of a cluster's database."""

import sqlalchemy as sa


class DatabaseReader:
    """Reads a cluster's database."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
