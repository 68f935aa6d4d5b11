"""Proxies of several families, and what is said of decoders that are carried over."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.measures import Row
from benchmarks.proxies import SMALL, Small, sites_of, small, taught
from benchmarks.runs import resume
from benchmarks.transfer import JUDGED, PROXIES, TARGETS, Trained, _nothing, error, fidelity, judged_all, table
from tests.tiny import word_tokenizer
from worker.r2f.banks import relations
from worker.r2f.decoder import FEATURES, SpectralFilter
from worker.r2f.decoder_training import TEMPLATE, Cases, collect
from worker.r2f.examples import collate
from worker.r2f.forward import span_logits
from worker.r2f.gradients import visiting
from worker.r2f.language import LanguageModel
from worker.r2f.sites import NoSitesError, Site
from worker.r2f.text import Prompt
from worker.train_decoder import facts_of


@pytest.fixture(scope="module")
def like() -> LanguageModel:
    facts = [(relation, fact) for relation in relations() for fact in relation.facts[:2]]
    words = " ".join(
        f"{relation.train[0].filled(fact.subject)} {TEMPLATE.format(a=fact.answers[0])}" for relation, fact in facts
    )
    tokenizer = word_tokenizer(words.split())
    return Small(small_model(tokenizer), tokenizer, 512)


def small_model(tokenizer: object) -> nn.Module:
    """Any model with the vocabulary of a tokenizer."""
    from tests.tiny import llama

    return llama(tokenizer, 512)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SMALL)
def test_every_family_has_sites_whose_gradient_is_autograds(like: LanguageModel, name: str) -> None:
    lm = small(name, like)
    layers = int(name.rpartition("x")[2])
    assert len(lm.sites) == layers * (4 if name.startswith("gpt2") else 7)
    example = lm.whole_reply(Prompt("What is the capital of France?"), "The answer is")
    assert example
    batch, found = collate([example], lm.pad), {}

    def visit(site: Site, x: torch.Tensor, d: torch.Tensor) -> None:
        found[site.name] = d.T @ x

    with visiting(lm.model, lm.sites, visit):
        nn.functional.cross_entropy(span_logits(lm.model, batch), batch.tokens).backward()
    for site in lm.sites:
        weight = lm.model.get_submodule(site.name).weight
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None
        exact = weight.grad.T if name.startswith("gpt2") else weight.grad
        assert found[site.name].shape == (site.d_out, site.d_in)
        torch.testing.assert_close(found[site.name], exact, atol=1e-6, rtol=1e-4)


def test_a_model_without_linear_layers_is_no_proxy() -> None:
    with pytest.raises(NoSitesError):
        sites_of(nn.Sequential(nn.ReLU()))


def test_a_proxy_learns_a_little(like: LanguageModel) -> None:
    assert taught(small("gpt2-32x2", like), 20) < taught(small("gpt2-32x2", like), 1) - 0.5


def test_a_decoder_can_be_judged_on_conv1d_sites(like: LanguageModel) -> None:
    cases = collect(small("gpt2-32x2", like), facts_of("free", JUDGED)[:2], rank=4, views=2, seed=0)
    assert len(cases.energy) == 2 * 2 * 4
    assert 0 < error(_nothing(), cases) < 1


def _cases(seed: int) -> Cases:
    drawn = torch.Generator().manual_seed(seed)
    n, r = 6, 3
    features = torch.randn(n, r, FEATURES, generator=drawn).double()
    sigma = torch.rand(n, r, generator=drawn).double().sort(descending=True).values + 0.1
    h = torch.rand(n, r, generator=drawn).double()
    return Cases(
        features, sigma, torch.eye(r).double().expand(n, r, r), h, torch.ones(n).double(), torch.ones(n).double() * 2
    )


def test_the_discrepancy_is_what_the_other_decoders_see() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoders = {name: Trained(SpectralFilter().double(), 0.1, _cases(n)) for n, name in enumerate("abc")}
    target = _cases(9)
    (row, _, _) = fidelity(decoders, {"t": target})
    seen = [
        abs(error(d.weights, target) - error(d.weights, decoders["a"].judged))
        for name, d in decoders.items()
        if name != "a"
    ]
    assert row["discrepancy"] == pytest.approx(max(seen))
    assert row["nothing_error"] == pytest.approx(0.5)
    assert error(_nothing(), target) == pytest.approx(0.5)
    alone = fidelity({"a": decoders["a"]}, {"t": target})
    assert alone[0]["discrepancy"] is None
    shown = table(
        [*fidelity(decoders, {"t": target}), {"fact": 0, "seed": 0, "method": "a", "kl": 0.5, "success": 1.0}]
    )
    assert "| a | t | " in shown
    assert "1 facts that the model knows" in shown
    assert "| – | – |" in table(alone)


def test_fidelity_is_made_again_where_a_proxy_or_a_row_is_missing(tmp_path: Path) -> None:
    out, made = tmp_path / "rows.jsonl", []
    forgot: Row = {"fact": 0, "seed": 0, "method": "a", "success": 1.0}
    resume(out, {}, lambda: [forgot])

    def train(name: str) -> Trained:
        made.append(name)
        with torch.random.fork_rng():
            torch.manual_seed(ord(name))
            return Trained(SpectralFilter().double(), 0.1, _cases(ord(name)))

    def again(*proxies: str) -> list[Row]:
        made.clear()
        judged = {name: _cases(n) for n, name in enumerate(TARGETS)}
        rows = judged_all(resume(out, {}), proxies, train, lambda: judged, out)
        assert rows == resume(out, {})
        return rows

    assert again("a")[0] == forgot
    alone = again("a")
    assert not made
    both = again("b")
    assert made == ["a", "b"]
    assert alone[1]["discrepancy"] is None
    assert all(row["discrepancy"] is not None for row in both[1:])
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:3]))  # interrupted after the first of them
    assert again("a", "b") == both
    assert again("a") == both


def test_targets_are_models_that_are_made() -> None:
    assert set(TARGETS) <= {"served", *SMALL}
    assert set(SMALL) < set(PROXIES)
