"""Database errors of the Control Room's records, which are in the playback cluster's database."""

import sqlalchemy as sa

# Raised when a record can't be written, nearly always because the database is unavailable.
NOT_WRITTEN = sa.exc.SQLAlchemyError
