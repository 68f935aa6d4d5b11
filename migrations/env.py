"""Runs the migrations against the URL handed over by `app.database`, or else the one in the settings."""

from alembic import context
from sqlalchemy import func, select

from app.database import Database
from app.models import Base
from app.settings import Settings

TURN = 0x72_32_66  # "r2f": any number that nobody else locks by


def run() -> None:
    """Migrate in one transaction, one process at a time; SQLite alters a table by copying it (batch mode)."""
    database = Database(context.config.attributes.get("url") or Settings().database)
    try:
        # SQLite: the write lock from the start, so that a second process waits and then finds nothing left to do.
        alone = database.engine.execution_options(begin="BEGIN IMMEDIATE")
        with alone.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=database.sqlite,
                compare_type=True,
                transactional_ddl=True,  # SQLite too: the engine begins its transactions itself
            )
            with context.begin_transaction():
                if not database.sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(TURN)))
                context.run_migrations()
    finally:
        database.close()


run()
