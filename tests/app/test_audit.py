"""The audit log is one chain: whatever is done to it behind the service's back is found, and named."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from app import audit, audit_check, clock
from app.audit_check import Anchor, Fault
from app.database import Database
from app.models import AuditEvent, AuditHead
from app.services import Services
from tests.summary import at_the_end

EVENTS = 6


@pytest.fixture
def log(services: Services):
    """A log with some events."""
    for number in range(EVENTS):
        with services.database.write() as session:
            audit.record(session, clock.now(), "default", "local", "deletion.accepted", f"del_{number}", targets=number)
    return services


def check(services: Services, anchor: Anchor | None = None):
    return audit_check.verify(services.database, services.records.vault.secret("audit"), anchor)


def tamper(services: Services, *statements: str):
    with services.database.transaction() as session:
        for statement in statements:
            session.execute(text(statement))


def test_the_log_that_was_written_holds(log):
    verdict = check(log)
    assert (verdict.intact, verdict.events, verdict.head.sequence) == (True, EVENTS, EVENTS)


def test_an_empty_log_holds(services):
    assert check(services).intact


TAMPERINGS = {
    "an action is edited": ("UPDATE audit_events SET action = 'x' WHERE id = 3", Fault.EDITED, 3),
    "an actor is edited": ("UPDATE audit_events SET actor = 'x' WHERE id = 1", Fault.EDITED, 1),
    "a tenant is edited": ("UPDATE audit_events SET tenant = 'x' WHERE id = 2", Fault.EDITED, 2),
    "a deletion is edited": ("UPDATE audit_events SET deletion_id = NULL WHERE id = 6", Fault.EDITED, 6),
    "a time is edited": ("UPDATE audit_events SET at = '2001-01-01 00:00:00.000000' WHERE id = 4", Fault.EDITED, 4),
    "details are edited": ("UPDATE audit_events SET details = '{\"targets\": 9}' WHERE id = 4", Fault.EDITED, 4),
    "a hash is edited": (f"UPDATE audit_events SET hash = '{'f' * 64}' WHERE id = 5", Fault.EDITED, 5),
    "a link is edited": (f"UPDATE audit_events SET previous_hash = '{'f' * 64}' WHERE id = 5", Fault.EDITED, 5),
    "a hash is no longer one": ("UPDATE audit_events SET hash = 'é' WHERE id = 5", Fault.EDITED, 5),
    "a number is too large": (
        "UPDATE audit_events SET details = '{\"targets\": 9007199254740993}' WHERE id = 4", Fault.EDITED, 4,
    ),
    "details are of another kind": ("UPDATE audit_events SET details = '[[1], null]' WHERE id = 4", Fault.EDITED, 4),
    "the head counts too far": ("UPDATE audit_head SET sequence = 9007199254740993", Fault.FORGED_HEAD, 7),
    "the head's seal is no longer one": ("UPDATE audit_head SET mac = 'é'", Fault.FORGED_HEAD, 7),
    "the first one is deleted": ("DELETE FROM audit_events WHERE id = 1", Fault.MISSING, 1),
    "one in the middle is deleted": ("DELETE FROM audit_events WHERE id = 3", Fault.MISSING, 3),
    "the gap is closed": (
        "DELETE FROM audit_events WHERE id = 3",
        *(f"UPDATE audit_events SET id = {n - 1} WHERE id = {n}" for n in range(4, EVENTS + 1)), Fault.EDITED, 3,
    ),
    "two change places": (
        "UPDATE audit_events SET id = 99 WHERE id = 2", "UPDATE audit_events SET id = 2 WHERE id = 4",
        "UPDATE audit_events SET id = 4 WHERE id = 99", Fault.EDITED, 2,
    ),
    "one is copied to the end": (
        "INSERT INTO audit_events SELECT 7, tenant, at, actor, action, deletion_id, details, previous_hash, hash"
        " FROM audit_events WHERE id = 6", Fault.EDITED, 7,
    ),
    "the last one is cut off": ("DELETE FROM audit_events WHERE id = 6", Fault.TRUNCATED, 6),
    "the last ones are cut off": ("DELETE FROM audit_events WHERE id > 2", Fault.TRUNCATED, 3),
    "all are cut off": ("DELETE FROM audit_events", Fault.TRUNCATED, 1),
    "the head is moved back with the cut": (
        "DELETE FROM audit_events WHERE id > 4",
        "UPDATE audit_head SET sequence = 4, hash = (SELECT hash FROM audit_events WHERE id = 4)",
        Fault.FORGED_HEAD, 5,
    ),
    "the head alone is moved back": (
        "UPDATE audit_head SET sequence = 4, hash = (SELECT hash FROM audit_events WHERE id = 4)",
        Fault.UNACCOUNTED, 5,
    ),
    "one is put before the first": (
        "INSERT INTO audit_events SELECT 0, tenant, at, actor, 'deletion.purged', deletion_id, details, previous_hash,"
        " hash FROM audit_events WHERE id = 1", Fault.UNACCOUNTED, 0,
    ),
    "one is put far before the first": (
        "INSERT INTO audit_events SELECT -7, tenant, at, actor, action, deletion_id, details, previous_hash, hash"
        " FROM audit_events WHERE id = 2", Fault.UNACCOUNTED, -7,
    ),
    "there is another head": (
        "INSERT INTO audit_head SELECT 2, sequence, hash, mac FROM audit_head", Fault.FORGED_HEAD, 7,
    ),
    "the head is moved to another row": ("UPDATE audit_head SET id = 2", Fault.FORGED_HEAD, 7),
    "the head is taken away": ("DELETE FROM audit_head", Fault.FORGED_HEAD, 7),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERINGS)
def test_tampering_is_found_at_its_first_link(log, case):
    *statements, fault, sequence = TAMPERINGS[case]
    tamper(log, *statements)
    verdict = check(log)
    assert (verdict.intact, verdict.fault, verdict.sequence) == (False, fault, sequence)
    FOUND[case] = f"{verdict.fault}, {verdict.sequence}"
    at_the_end(f"audit log of {EVENTS} events: what was done to it, and what is found first", table)


FOUND: dict[str, str] = {}


def table():
    """Each tampering with the fault that was named, and its link."""
    yield f"{'tampering':40}found"
    for case, found in FOUND.items():
        yield f"{case:40}{found}"


UNREADABLE = {
    "details are no JSON": "details = '{torn'",
    "details are no number": "details = '{\"targets\": NaN}'",
    "a time is none": "at = 'yesterday'",
    "a time is a number": "at = 7",
    "an actor is no text": "actor = CAST(x'ff' AS TEXT)",
    "an action is bytes": "action = x'00'",
}


@pytest.mark.parametrize("settings", ["sqlite+filesystem"], indirect=True)
@pytest.mark.parametrize("case", UNREADABLE)
def test_a_row_that_cannot_be_read_is_named_as_edited(log, case):
    """PostgreSQL refuses to write these."""
    tamper(log, f"UPDATE audit_events SET {UNREADABLE[case]} WHERE id = 4")
    verdict = check(log)
    assert (verdict.fault, verdict.sequence, verdict.events) == (Fault.EDITED, 4, 3)
    tamper(log, "DELETE FROM audit_events WHERE id = 3")
    assert (check(log).fault, check(log).sequence) == (Fault.MISSING, 3)


@pytest.mark.parametrize("settings", ["postgresql+redis"], indirect=True)
def test_a_time_beyond_all_dates_is_named_as_edited(log):
    tamper(log, "UPDATE audit_events SET at = 'infinity' WHERE id = 4")
    assert (check(log).fault, check(log).sequence) == (Fault.EDITED, 4)


def test_who_has_another_key_cannot_write_an_event_that_holds(log):
    with log.database.transaction() as session:
        event = session.get(AuditEvent, 3)
        event.action = "x"
        event.hash = audit.event_hash(b"another key", event)
    assert check(log).sequence == 3


def test_an_old_copy_of_log_and_head_is_found_by_who_has_seen_a_later_one(log):
    with log.database.read() as session:
        old = session.scalars(select(AuditHead)).one()
    with log.database.write() as session:
        audit.record(session, clock.now(), "default", "local", "deletion.canceled", "del_1")
    later = check(log).head
    tamper(
        log,
        f"DELETE FROM audit_events WHERE id > {EVENTS}",
        f"UPDATE audit_head SET sequence = {old.sequence}, hash = '{old.hash}', mac = '{old.mac}'",
    )
    assert check(log).intact
    assert check(log, later).fault is Fault.TRUNCATED
    assert check(log, Anchor(2, "0" * 64)).fault is Fault.NOT_THE_ANCHOR


def test_writers_at_once_make_one_chain(services):
    def write(number):
        with services.database.write() as session:
            for part in range(3):
                audit.record(session, clock.now(), "default", "local", "deletion.accepted", f"del_{number}", part=part)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    verdict = check(services)
    assert (verdict.intact, verdict.events) == (True, 120)


def test_a_transaction_that_fails_leaves_no_event_and_no_gap(log):
    def fail():
        with log.database.write() as session:
            audit.record(session, clock.now(), "default", "local", "deletion.accepted", "del_x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with log.database.write() as session:
        audit.record(session, clock.now(), "default", "local", "deletion.accepted", "del_y")
    verdict = check(log)
    assert (verdict.intact, verdict.events) == (True, EVENTS + 1)


def test_an_event_is_never_dropped_for_want_of_the_key(services):
    keyless = Database(services.settings.database)

    def record():
        with keyless.write() as session:
            audit.record(session, clock.now(), "default", "local", "deletion.accepted", "del_x")

    with pytest.raises(RuntimeError, match="open_records"):
        record()
    keyless.close()


def test_half_an_anchor_is_refused_and_not_ignored(client):
    for half in ({"sequence": 1}, {"hash": "f" * 64}):
        answer = client.get("/audit/verify", params=half)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert "both, or neither" in answer.json()["detail"]
