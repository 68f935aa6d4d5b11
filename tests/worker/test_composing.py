"""One adapter of many: it adds up, is judged on what each was judged on, and takes only what fits the model."""

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from app.adapters import AdapterInvalid
from app.report import Evidence, VerdictKind, ViewEvidence
from tests.tiny import llama, word_tokenizer
from worker.composing import Part, compose_adapters, update_of
from worker.loading import Loaded
from worker.r2f import adapter
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.curvature import Curvature, Moment
from worker.r2f.drift import Generic
from worker.r2f.language import LanguageModel
from worker.r2f.lowrank import LowRank
from worker.r2f.text import Form, Prompt

MODEL, DIGEST = "tiny", "sha256:0"
ASKED = Prompt("w5 w9", Form.PLAIN)


def _update(lm: LanguageModel, rank: int, seed: int) -> Update:
    drawn = torch.Generator().manual_seed(seed)
    return {
        site.name: LowRank(
            0.05 * torch.randn(site.d_out, rank, generator=drawn), torch.randn(rank, site.d_in, generator=drawn)
        )
        for site in lm.sites
    }


def _files(lm: LanguageModel, update: Update, rank: int = 8, digest: str = DIGEST) -> Mapping[str, bytes]:
    return adapter.adapter_files(update, lm.sites, rank, model=MODEL, revision=None, digest=digest)


def _evidence(said: str, answer: str) -> Evidence:
    view = ViewEvidence(
        target=0,
        prompt=ASKED.text,
        form="plain",
        answers=[answer],
        family="f",
        source="bank",
        known=True,
        reply_before=said,
        reply_after="no",
        held=False,
    )
    unknown = view.model_copy(update={"known": False})
    return Evidence(training_views=[], held_out_views=[view, unknown], reversed_views=[], neighbours=[view], generic=[])


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    lm = LanguageModel(llama(tokenizer := word_tokenizer(f"w{n}" for n in range(90)), 64), tokenizer, 64)
    lm.model.requires_grad_(False).eval()
    moments = {
        size: Moment(torch.zeros(size, 1), torch.ones(size)) for site in lm.sites for size in (site.d_in, site.d_out)
    }
    curvature = Curvature(
        {site.group: moments[site.d_in] for site in lm.sites}, {site.name: moments[site.d_out] for site in lm.sites}
    )
    made = SimpleNamespace(
        lm=lm,
        served=SimpleNamespace(id=MODEL, revision=None),
        curvature=curvature,
        judge_drift=Generic.told(lm, ["w3 w4"], ["w8 w9 w10"]),
        model_digest=DIGEST,
    )
    return cast(Loaded, made)


def _logits(lm: LanguageModel, *updates: Update) -> torch.Tensor:
    ids = torch.tensor([lm.encode(ASKED.text)])
    with torch.no_grad(), Adaptation(lm.model, lm.sites) as one, Adaptation(lm.model, lm.sites) as two:
        one.use(updates[0])
        two.use(updates[1] if len(updates) > 1 else {})
        return cast(torch.Tensor, lm.model(ids).logits)


def test_two_adapters_that_fit_act_as_both_at_once(loaded: Loaded) -> None:
    updates = [_update(loaded.lm, 8, seed) for seed in (0, 1)]
    parts = [Part(f"del_{n}", _files(loaded.lm, update), None) for n, update in enumerate(updates)]
    made = compose_adapters(loaded, parts, 64)
    assert (made.exact, made.rank) == (True, 16)
    one = update_of(made.files, loaded.lm, DIGEST)
    torch.testing.assert_close(_logits(loaded.lm, one), _logits(loaded.lm, *updates))
    assert not torch.allclose(_logits(loaded.lm, one), _logits(loaded.lm, updates[0]))
    assert made.drift.kl_mean > 0
    assert [part.success.cases for part in made.parts] == [0, 0]  # purged: nothing is left to ask


def test_a_model_of_half_precision_does_not_round_what_is_composed(loaded: Loaded) -> None:
    lm = loaded.lm
    half = LanguageModel(copy.deepcopy(lm.model).to(torch.bfloat16), lm.tokenizer, lm.context)
    update = _update(lm, 8, 0)
    read = update_of(_files(lm, update), half, DIGEST)
    for site in lm.sites:
        assert read[site.name].left.dtype == torch.float32
        wanted, got = (part[site.name].left @ part[site.name].right for part in (update, read))
        torch.testing.assert_close(got, wanted)
    assert _logits(half, read).isfinite().all()


def test_what_does_not_fit_is_truncated_and_says_so(loaded: Loaded) -> None:
    parts = [Part(f"del_{n}", _files(loaded.lm, _update(loaded.lm, 8, n)), None) for n in range(3)]
    made = compose_adapters(loaded, parts, 16)
    assert (made.exact, made.rank) == (False, 16)


def _nothing(lm: LanguageModel) -> Mapping[str, bytes]:
    return _files(lm, {name: part.scaled(0.0) for name, part in _update(lm, 8, 0).items()})


def test_what_was_judged_is_asked_again(loaded: Loaded) -> None:
    said = loaded.lm.replies([ASKED], 24)[0]
    parts = [
        Part("del_back", _nothing(loaded.lm), _evidence(said, said.split()[0])),
        Part("del_gone", _nothing(loaded.lm), _evidence(said, "never said")),
    ]
    back, gone = compose_adapters(loaded, parts, 64).parts
    assert (back.deletion, back.success.hits, back.success.cases) == ("del_back", 0, 1)
    assert (back.neighbours.hits, back.neighbours.cases) == (1, 1)
    assert (gone.success.hits, gone.success.cases) == (1, 1)
    assert (gone.neighbours.hits, gone.neighbours.cases) == (0, 1)


def test_every_target_is_judged_on_its_own_and_so_is_what_is_retained(loaded: Loaded) -> None:
    said = loaded.lm.replies([ASKED], 24)[0]
    gone = _evidence(said, "never said")
    (view, _) = gone.held_out_views
    back = view.model_copy(update={"target": 1, "answers": [said.split()[0]]})
    changed = view.model_copy(update={"answers": [], "source": "request", "reply_before": "w1 w2"})
    same = changed.model_copy(update={"reply_before": said})
    near = view.model_copy(update={"answers": [said.split()[0]], "source": "swap"})
    evidence = gone.model_copy(
        update={"held_out_views": [*[view] * 57, *[back] * 3], "neighbours": [*[near] * 16, changed, changed, same]}
    )
    (judged,) = compose_adapters(loaded, [Part("del_0", _nothing(loaded.lm), evidence)], 64).parts
    assert (judged.success.hits, judged.success.cases) == (57, 60)
    assert (judged.neighbours.hits, judged.neighbours.cases) == (16, 16)
    assert (judged.retained.hits, judged.retained.cases) == (1, 3)
    assert judged.verdict.kind is VerdictKind.MISSED
    assert [one.threshold for one in judged.verdict.missed] == ["success of target 1", "retain"]


def test_a_target_of_which_the_base_model_knew_nothing_is_insufficient(loaded: Loaded) -> None:
    said = loaded.lm.replies([ASKED], 24)[0]
    evidence = _evidence(said, "never said")
    (view, _) = evidence.held_out_views
    unknown = view.model_copy(update={"target": 1, "known": False})
    near = view.model_copy(update={"answers": [said.split()[0]], "source": "swap"})
    evidence = evidence.model_copy(update={"held_out_views": [view, view, view, unknown], "neighbours": [near]})
    (judged,) = compose_adapters(loaded, [Part("del_0", _nothing(loaded.lm), evidence)], 64).parts
    assert judged.verdict.kind is VerdictKind.INSUFFICIENT_EVIDENCE
    assert [one.threshold for one in judged.verdict.missed] == ["held_out_views of target 1"]


def test_a_drift_that_no_deletion_may_have_is_missed(loaded: Loaded) -> None:
    strong = {name: part.scaled(50.0) for name, part in _update(loaded.lm, 8, 0).items()}
    said = loaded.lm.replies([ASKED], 24)[0]
    part = Part("del_0", _files(loaded.lm, strong), _evidence(said, "never said"))
    (judged,) = compose_adapters(loaded, [part], 64).parts
    assert {"generic_kl", "agreement"} <= {one.threshold for one in judged.verdict.missed}


def test_purged_evidence_is_no_evidence(loaded: Loaded) -> None:
    (judged,) = compose_adapters(loaded, [Part("del_0", _nothing(loaded.lm), None)], 64).parts
    assert judged.verdict.kind is VerdictKind.INSUFFICIENT_EVIDENCE


def test_an_adapter_of_other_weights_is_refused(loaded: Loaded) -> None:
    update = _update(loaded.lm, 8, 0)
    for files, wrong in (
        (_files(loaded.lm, update, digest="sha256:1"), "other weights"),
        (adapter.adapter_files(update, loaded.lm.sites[:-1], 8, model=MODEL, revision=None, digest=DIGEST), "fit"),
        (
            adapter.adapter_files(update, loaded.lm.sites, 8, model=MODEL, revision=None, digest=DIGEST, merged="rtn4"),
            "to be merged",
        ),
    ):
        with pytest.raises(AdapterInvalid, match=f"of del_0: .*{wrong}"):
            compose_adapters(loaded, [Part("del_0", files, None)], 64)
