"""`r2f webhooks`."""

import json
import re

from app import clock
from app.client import Client
from app.webhooks.outbox import Outbox
from tests.app.commands.conftest import NOBODY, PARIS, R2F
from tests.app.conftest import Live


def test_a_webhook_is_added_rotated_listed_and_removed(live: Live, r2f: R2F):
    url = "https://privacy.example.org/told"
    added = r2f("webhooks", "add", url)
    assert re.fullmatch(r"whsec_[\w+/]{43}=\n", added.stdout)
    assert "not shown again" in added.stderr
    webhook = added.stderr.partition(".")[0]
    rotated = json.loads(r2f("webhooks", "rotate", webhook, "--json").stdout)
    assert rotated["id"] == webhook
    assert rotated["secret"] != added.stdout.strip()
    with Client(live.url) as client:
        deletion = client.cancel(client.submit({**PARIS, "callback_url": url}).id).id
    Outbox(live.services.database, live.services.sealer).gather(clock.now())
    shown = r2f("webhooks", "deliveries", webhook).stdout
    assert deletion in shown
    assert "canceled" in shown
    assert json.loads(r2f("webhooks", "deliveries", webhook, "--json").stdout)[0]["tries"] == 0
    assert "is told nothing more" in r2f("webhooks", "remove", webhook).stdout
    listed = r2f("webhooks", "list").stdout
    assert url in listed
    assert "disabled: operator" in listed


def test_a_webhook_that_is_refused_or_unknown_says_why(r2f: R2F):
    refused = r2f("webhooks", "add", "http://127.0.0.1/told")
    assert refused.exit_code == 1
    assert "https://" in refused.stderr
    unknown = r2f("webhooks", "deliveries", "whk_unknown")
    assert unknown.exit_code == 1
    assert "no webhook" in unknown.stderr
    assert r2f("webhooks", "list", "--server", NOBODY).exit_code == 5
