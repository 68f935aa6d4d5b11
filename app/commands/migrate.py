"""`r2f migrate`."""

from app.commands.console import err, exit_codes


@exit_codes()
def migrate() -> None:
    """Bring the database up to date; run it once before the service starts, and after each upgrade."""
    from app.preflight import bring_up_to_date, settings_of

    bring_up_to_date(settings_of())
    err.print("The database is up to date.")
