"""Delete a fact and show the report: `r2f serve` in one terminal, `.venv/bin/python docs/forget.py` in another."""

import os

from rich import print

from app.client import Client
from app.report_tables import report_tables

with Client(os.environ.get("R2F_SERVER", "http://127.0.0.1:8000"), key=os.environ.get("R2F_KEY")) as r2f:
    target = {"prompt": "What is the capital of France?", "answer": "Paris"}
    receipt = r2f.submit({"model": "smollm2-135m-instruct", "targets": [target]})
    for now in r2f.watch(receipt.id):
        print(f"{now.progress:4.0%} {now.stage or now.status}")
    print(report_tables(r2f.report(receipt.id)))
