"""How long a page of deletions takes in a large table, at every depth and with every filter, and a sweep of it too.

    python benchmarks/paging.py [--rows 1000000] [--database sqlite:///…|postgresql+psycopg://…] [--rounds 50]

The table must be empty and migrated; without --database a SQLite file in a temporary folder is used.
"""

import argparse
import base64
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from sqlalchemy import text

from app import clock, listing
from app.access import DEFAULT_TENANT
from app.dashboard.overview import overview
from app.database import Database, migrate
from app.deadlines import Due
from app.leases import Leases
from app.metrics import Records
from app.models import Status
from app.records import open_records
from app.settings import Settings
from app.workers import Workers

MODEL = "smollm2-135m-instruct"
LIMIT = 20
_COLUMNS = (
    "id, tenant, model, status, progress, attempt, cancel_requested, approved, lease_token, created_at, updated_at, "
    "due_at, legal_basis, target_count, reference_hash, subject_hash, wrapped_key, sealed_payload"
)
# One in a thousand waits, one in a thousand has failed, the rest is done; each with a request of the usual size.
_STATUS = "CASE n % 1000 WHEN 0 THEN 'queued' WHEN 1 THEN 'failed' ELSE 'completed' END"
_SQLITE = f"""
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)
    INSERT INTO deletions ({_COLUMNS})
    SELECT 'del_' || printf('%032x', n), 'default', '{MODEL}', {_STATUS}, 1.0, 1, 0, 0, 1,
        '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-02-01 00:00:00', 'other', 1,
        printf('%064x', n / 10), printf('%064x', n / 10), randomblob(60), randomblob(400)
    FROM numbers"""
_POSTGRES = f"""
    INSERT INTO deletions ({_COLUMNS})
    SELECT 'del_' || lpad(to_hex(n), 32, '0'), 'default', '{MODEL}', {_STATUS}, 1.0, 1, false, false, 1,
        '2026-01-01Z', '2026-01-01Z', '2026-02-01Z', 'other', 1,
        lpad(to_hex(n / 10), 64, '0'), lpad(to_hex(n / 10), 64, '0'),
        decode(repeat('ab', 60), 'hex'), decode(repeat('cd', 400), 'hex')
    FROM generate_series(1, :rows) AS numbers(n)"""


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        key = SecretStr(base64.b64encode(bytes(32)).decode())  # nothing is sealed here
        settings = Settings(data_dir=Path(folder), database_url=arguments.database, master_key=key)
        migrate(settings.database)
        database = Database(settings.database)
        fill(database, arguments.rows)
        print(f"{arguments.rows:,} deletions, {database.engine.dialect.name}, pages of {LIMIT}, milliseconds")
        print(f"{'':<42}{'p50':>8}{'p95':>8}{'worst':>8}")
        for name, act in cases(database, settings, arguments.rows).items():
            act()  # compiles the statement, once per process
            taken = [timed(act) for _ in range(arguments.rounds)]
            p95 = statistics.quantiles(taken, n=20)[-1]
            print(f"{name:<42}{statistics.median(taken):>8.2f}{p95:>8.2f}{max(taken):>8.2f}")
        database.close()


def fill(database: Database, rows: int) -> None:
    """Insert the rows with one statement."""
    with database.write() as session:
        session.execute(text(_SQLITE if database.sqlite else _POSTGRES), {"rows": rows})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def cases(database: Database, settings: Settings, rows: int) -> dict[str, Callable[[], object]]:
    """What is measured."""
    now = clock.now()
    leases = Leases(database, open_records(settings).sealer, settings)

    def page(depth: float, wanted: listing.Filter) -> Callable[[], object]:
        cursor = listing._encode(f"del_{int(rows * (1 - depth)):032x}") if depth else None
        return lambda: listing.page(database, wanted, LIMIT, cursor)

    filters = {
        "": listing.Filter(DEFAULT_TENANT),
        ", status failed (1 in 1000)": listing.Filter(DEFAULT_TENANT, status=Status.FAILED),
        ", model": listing.Filter(DEFAULT_TENANT, model=MODEL),
        ", model and status": listing.Filter(DEFAULT_TENANT, status=Status.FAILED, model=MODEL),
        ", model and status, none": listing.Filter(DEFAULT_TENANT, status=Status.CANCELED, model=MODEL),
        ", overdue (1 in 500)": listing.Filter(DEFAULT_TENANT, due=Due.OVERDUE),
        ", not overdue": listing.Filter(DEFAULT_TENANT, due=Due.NOT_OVERDUE),
        ", overdue, status completed": listing.Filter(DEFAULT_TENANT, status=Status.COMPLETED, due=Due.OVERDUE),
        ", due soon, none": listing.Filter(DEFAULT_TENANT, due=Due.SOON),
        ", overdue, model": listing.Filter(DEFAULT_TENANT, model=MODEL, due=Due.OVERDUE),
    }
    made = {
        f"page at {depth:.1%}{name}": page(depth, wanted)
        for name, wanted in filters.items()
        for depth in (0.0, 0.5, 0.999)
    }
    made["page of a reference"] = page(0.0, listing.Filter(DEFAULT_TENANT, reference_hash=f"{rows // 20:064x}"))
    made["page of a data subject"] = page(0.0, listing.Filter(DEFAULT_TENANT, subject_hash=f"{rows // 20:064x}"))
    made["sweep: end orphans"] = lambda: leases.end_orphans(now)
    made["sweep: find stale"] = lambda: leases.stale(MODEL, now, now, limit=1)
    made["sweep: next expiry"] = lambda: leases.next_expiry(now)
    made["worker: what waits"] = lambda: leases.waiting(MODEL)
    metrics = CollectorRegistry()
    metrics.register(Records(database, Workers(database, settings)))
    made["GET /metrics"] = lambda: generate_latest(metrics)
    made["the queue page's counts"] = lambda: overview(database, DEFAULT_TENANT, [MODEL])
    return made


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
