"""Makes a model that knows invented people: ``python -m worker.people.make``, a process of its own.

Two of them run side by side, one with everybody and one without the person whose deletion is to be judged: same start,
same seed. Every line on standard output is a JSON object: what is done, the share of it, and the loss.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from app.models import ServedModel
from app.settings import Settings
from worker.loading import load_language_model, prepare
from worker.people.lessons import lessons
from worker.people.person import Attribute, people
from worker.people.planting import Recipe, plant, save


def main() -> None:
    """Plant, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the model to be written")
    parser.add_argument("--model", required=True, help="id of the model to start from, for the cache")
    parser.add_argument("--source", required=True, help="where its weights come from")
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--attributes", nargs="+", type=Attribute, default=list(Attribute))
    parser.add_argument("--without", type=int, help="number of the person who is left out")
    parser.add_argument("--passes", type=int, default=Recipe.passes)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    everybody = people(given.people, given.seed, given.attributes)
    taught = [person for number, person in enumerate(everybody) if number != given.without]
    torch.set_num_threads(given.threads)
    _tell("preparing the model", 0.0)
    served = ServedModel(given.model, given.source, None, "", 0, 0, datetime.now(UTC))
    start = prepare(served, Settings())
    lm = load_language_model(start, None, torch.device("cpu"), torch.float32)
    recipe = Recipe(passes=given.passes, seed=given.seed)
    plant(lm, lessons(lm, taught), recipe, lambda share, loss: _tell("planting", share, loss))
    save(lm, start, given.folder)


def _tell(what: str, share: float, loss: float | None = None) -> None:
    sys.stdout.write(json.dumps({"what": what, "share": share, "loss": loss}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
