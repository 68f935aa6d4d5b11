"""A certificate says what was done and measured, and whoever has the public key finds out every change to it."""

import copy
import io
import json
import zipfile
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from app import audit_check, clock
from app.certificate import limits
from app.cli import app as cli
from app.models import Deletion
from app.report import VerdictKind
from app.verification import Opening, verify
from tests.conftest import CANARY, FRANCE, FakePipeline, caller, wired, worker_on
from tests.summary import at_the_end

REQUEST = {**FRANCE, "data_subject": CANARY, "reference": "case-1", "thresholds": {"success": 0.9}}


@pytest.fixture
def done(client):
    """The id of a completed deletion."""
    return complete(client)


def complete(client, kind=VerdictKind.PASSED):
    deletion_id = client.post("/deletions", json=REQUEST).json()["id"]
    worker_on(wired(client), FakePipeline(kind), f"wrk_{deletion_id}").runner.work()
    return deletion_id


def certificate(client, deletion_id):
    return client.get(f"/deletions/{deletion_id}/certificate").content


def jwks(client):
    return client.get("/.well-known/jwks.json").json()


def adapter(client, deletion_id):
    return client.get(f"/deletions/{deletion_id}/adapter").content


def opening(client, deletion_id, request=REQUEST):
    return Opening(json.dumps(request).encode(), client.get(f"/deletions/{deletion_id}/commitment").json()["salt"])


def test_it_states_what_was_done_and_measured_and_names_nobody(client, done):
    body = certificate(client, done)
    said = json.loads(body)["statement"]
    services = wired(client)
    assert (said["deletion_id"], said["outcome"], said["legal_basis"]) == (done, "forgotten", "gdpr_17_1_a")
    assert said["adapter"]["modules"] == ["down_proj"]
    assert (said["adapter"]["rank"], said["thresholds"]["success"], said["forget_set"]["size"]) == (16, 0.9, 1)
    assert said["measured"]["success"] == {"cases": 4, "hits": 4, "rate": 1.0, "low": 0.5, "high": 1.0}
    assert said["verdict"]["kind"] == "passed"
    assert len(said["limits"]) == 4
    for personal in (CANARY, "Paris", "case-1", "capital"):
        assert personal.encode() not in body
    seen = audit_check.Anchor(**said["audit_head"])
    assert audit_check.verify(services.database, services.records.vault.secret("audit"), seen).intact


def test_it_says_where_protection_holds():
    assert "where this adapter is loaded on this base model, and nowhere else" in limits(None)[1]
    assert "where this adapter is merged into this base model and that is rounded to q4_1" in limits("q4_1")[1]


def test_it_is_issued_once_and_stays_the_same_whatever_is_purged(client, done):
    first = certificate(client, done)
    client.delete(f"/deletions/{done}/personal-data").raise_for_status()
    assert certificate(client, done) == first
    assert all(check.holds for check in verify(first, jwks(client), adapter(client, done)))


def test_it_is_issued_without_being_asked_for_before_anything_is_purged(client, done):
    services = wired(client)
    with services.database.transaction() as session:
        session.execute(update(Deletion).values(finished_at=clock.now() - timedelta(days=8)))
    services.purger.sweep()
    assert client.get(f"/deletions/{done}").json()["purged_at"] is not None
    assert json.loads(services.certificates._issued(done))["statement"]["deletion_id"] == done


def test_a_deletion_that_is_not_completed_has_none(client):
    deletion_id = complete(client, VerdictKind.MISSED)
    refused = client.get(f"/deletions/{deletion_id}/certificate")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/certificate-not-ready")
    client.post(f"/deletions/{deletion_id}/approve").raise_for_status()
    assert json.loads(certificate(client, deletion_id))["statement"]["approved_by_operator"] is True


def test_what_was_not_known_has_a_certificate_without_an_adapter(client):
    deletion_id = complete(client, VerdictKind.NOT_KNOWN)
    body = certificate(client, deletion_id)
    said = json.loads(body)["statement"]
    assert (said["outcome"], said["adapter"]) == ("not_known", None)
    assert not verify(body, jwks(client), b"some zip")[-1].holds


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return ("A" if value[:1] != "A" else "B") + value[1:]
    return "something"


def leaves(value, path=()):
    """Every place in a document where a value stands."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def put(document, path, value):
    document = copy.deepcopy(document)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


def test_every_field_that_is_changed_added_or_taken_out_is_found(client, done):
    body, keys = certificate(client, done), jwks(client)
    document, verdicts = json.loads(body), {}
    assert verify(body, keys)[0].holds
    for path in leaves(document):
        (check,) = verify(json.dumps(put(document, path, changed(_at(document, path)))).encode(), keys)
        assert not check.holds, path
        verdicts["/".join(map(str, path))] = check.said
    for name in document["statement"]:
        (check,) = verify(json.dumps({**document, "statement": _without(document["statement"], name)}).encode(), keys)
        assert not check.holds, name
    for more in ({**document, "x": 1}, put(document, ("signature", "x"), 1), put(document, ("statement", "x"), 1)):
        assert not verify(json.dumps(more).encode(), keys)[0].holds
    assert len(verdicts) > 60
    assert "algorithm" in verdicts["signature/algorithm"]
    assert "not among the keys" in verdicts["signature/key_id"]
    at_the_end("certificate: each field changed, and what is said of it", lambda: table(verdicts))


def table(verdicts):
    """How many of the changed fields were found, and by which words."""
    yield f"{'fields':>6}  said"
    for said, fields in Counter(verdicts.values()).most_common():
        yield f"{fields:6}  {said}"
    yield f"{len(verdicts):6}  changed, and as many found"


def _at(document, path):
    for step in path:
        document = document[step]
    return document


def _without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"{", b'{"statement": {}, "signature": 3}', b"\xff"])
def test_what_is_no_certificate_is_said_to_be_none(text):
    (check,) = verify(text, {"keys": []})
    assert not check.holds


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"statement": ' + b"[" * 400 + b"]" * 400 + b', "signature": {}}'])
def test_what_is_too_deep_is_no_certificate(text):
    (check,) = verify(text, {"keys": []})
    assert not check.holds


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: keys["keys"],
        lambda keys: None,
        lambda keys: "keys",
        lambda keys: {},
        lambda keys: {"keys": None},
        lambda keys: {"keys": keys["keys"][0]},
        lambda keys: {"keys": ["x", None, 1, []]},
        lambda keys: {"keys": [_without(keys["keys"][0], "x")]},
        lambda keys: {"keys": [{**keys["keys"][0], "x": None}]},
        lambda keys: {"keys": [{**keys["keys"][0], "x": ["x"]}]},
        lambda keys: {"keys": [{**keys["keys"][0], "x": "\ud800"}]},
        lambda keys: {"keys": [{**keys["keys"][0], "kty": []}]},
    ],
)
def test_keys_that_are_none_are_a_verdict(client, done, spoil, tmp_path):
    place = tmp_path / "certificate.json"
    place.write_bytes(certificate(client, done))
    spoiled = spoil(jwks(client))
    (check,) = verify(place.read_bytes(), spoiled)
    assert not check.holds
    (tmp_path / "jwks.json").write_text(json.dumps(spoiled))
    run = CliRunner().invoke(cli, ["verify", str(place)])
    assert run.exit_code == 1
    assert "FAILS  signature" in run.output


def test_a_key_that_is_broken_does_not_hide_the_right_one(client, done):
    keys = jwks(client)["keys"]
    (check,) = verify(certificate(client, done), {"keys": [None, _without(keys[0], "x"), *keys]})
    assert check.holds
    assert keys[0]["kid"] in check.said, "it says which key was trusted"


def test_a_field_that_is_named_twice_is_found(client, done):
    twice = certificate(client, done).replace(b'{"adapter"', b'{"outcome":"not_known","adapter"', 1)
    (check,) = verify(twice, jwks(client))
    assert "twice" in check.said


def test_the_adapter_is_held_against_the_certificate(client, done):
    body, keys, zipped = certificate(client, done), jwks(client), adapter(client, done)
    assert [check.holds for check in verify(body, keys, zipped)] == [True, True]
    other = complete(client)
    torn = zipped[:-1] + bytes([zipped[-1] ^ 1])
    more = io.BytesIO(zipped)
    with zipfile.ZipFile(more, "a") as archive:
        archive.writestr("extra", b"x")
    for wrong in (torn, b"", zipped[:100], more.getvalue()):
        assert [check.holds for check in verify(body, keys, wrong)] == [True, False]
    assert certificate(client, other) != body


def test_the_commitment_opens_for_the_request_and_the_salt_alone(client, done):
    body, keys, right = certificate(client, done), jwks(client), opening(client, done)
    assert verify(body, keys, opening=right)[-1].holds
    guess = {**REQUEST, "targets": [{"prompt": "What is the capital of France?", "answer": "Lyon"}]}
    for wrong in (Opening(json.dumps(guess).encode(), right.salt), Opening(right.request, "00" * 32),
                  Opening(b"{", right.salt), Opening(right.request, "xyz")):  # fmt: skip
        assert not verify(body, keys, opening=wrong)[-1].holds
    other = complete(client)
    assert opening(client, other).salt != right.salt, "equal requests have commitments that cannot be compared"
    committed = [json.loads(one)["statement"]["forget_set"] for one in (body, certificate(client, other))]
    assert committed[0] != committed[1]


def test_old_certificates_hold_after_the_signing_key_was_rotated(client, done):
    services, old = wired(client), certificate(client, done)
    before = jwks(client)["keys"]
    key_id = services.certificates.rotate()
    newer = certificate(client, complete(client))
    keys = jwks(client)
    assert [key["kid"] for key in keys["keys"]] == [key_id, before[0]["kid"]]
    assert all("d" not in key for key in keys["keys"]), "private keys stay at home"
    assert verify(old, keys)[0].holds
    assert verify(newer, keys)[0].holds
    assert not verify(newer, {"keys": before})[0].holds
    with services.database.read() as session, pytest.raises(KeyError):
        services.records.vault.passing(session, f"signing:{before[0]['kid']}")
    assert not any(name.startswith("signing:") for name in services.records.vault._clear), "kept by who has signed"


def test_a_key_that_was_rotated_meanwhile_signs_no_more(client, settings, monkeypatch):
    waiting = complete(client)
    with caller(settings) as other:
        elsewhere = wired(other).certificates
        adapter_of = elsewhere._adapter
        rotated: list[str] = []

        def rotate_first(row):
            rotated.append(wired(client).certificates.rotate())
            return adapter_of(row)

        jwks(other)
        monkeypatch.setattr(elsewhere, "_adapter", rotate_first)
        body = certificate(other, waiting)
        assert rotated == [jwks(other)["keys"][0]["kid"]]
        assert verify(body, {"keys": jwks(other)["keys"][:1]})[0].holds


def test_the_command_says_what_holds_and_what_does_not(client, done, tmp_path):
    body, zipped = tmp_path / "certificate.json", tmp_path / "adapter.zip"
    body.write_bytes(certificate(client, done))
    zipped.write_bytes(adapter(client, done))
    run = CliRunner()
    missing = run.invoke(cli, ["verify", str(body), str(zipped)])
    assert missing.exit_code == 1
    (tmp_path / "jwks.json").write_text(json.dumps(jwks(client)))
    right = run.invoke(cli, ["verify", str(body), str(zipped)])
    assert (right.exit_code, right.output.count("holds")) == (0, 2)
    zipped.write_bytes(b"another")
    wrong = run.invoke(cli, ["verify", str(body), str(zipped)])
    assert wrong.exit_code == 1
    assert "FAILS  adapter" in wrong.output
