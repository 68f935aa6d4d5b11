"""Runs the migrations against the URL handed over by `app.database`, or else the one in the settings."""

from alembic import context

from app.database import Database
from app.models import Base
from app.settings import Settings


def run() -> None:
    """Migrate in one transaction; SQLite alters a table by copying it (batch mode)."""
    database = Database(context.config.attributes.get("url") or Settings().database)
    try:
        with database.engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=database.sqlite,
                compare_type=True,
                transactional_ddl=True,  # SQLite too: the engine begins its transactions itself
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        database.close()


run()
