"""PostgreSQL cancels statements of the server that take too long, later if they may take longer."""

import pytest
import sqlalchemy as sa

from dqmsquare_cfg import Cluster, Settings
from web.databases import ClusterDatabase

TIMEOUT = sa.select(sa.func.current_setting("statement_timeout"))
FAILS = sa.text("SELECT 1 / 0")
MAY_TAKE_LONGER = {"response_timeout_s": 10}


@pytest.mark.parametrize("isolation_level", ["AUTOCOMMIT", "READ COMMITTED"])
def test_a_statement_may_take_longer_than_those_after_it(settings: Settings, isolation_level: str) -> None:
    database = ClusterDatabase(settings, Cluster.PRODUCTION).engine
    with database.execution_options(isolation_level=isolation_level).connect() as connection:
        assert connection.scalar(TIMEOUT) == "1300ms"
        assert connection.scalar(TIMEOUT, execution_options=MAY_TAKE_LONGER) == "9800ms"
        assert connection.scalar(TIMEOUT) == "1300ms"
        with pytest.raises(sa.exc.DataError):
            connection.scalar(FAILS, execution_options=MAY_TAKE_LONGER)
        connection.rollback()
        assert connection.scalar(TIMEOUT) == "1300ms"
    database.dispose()
