"""Where models and decoders may come from: folders that the settings name, and nothing outside of them.

Whoever may register a model must not be able to have the service read any file of its machine. So a path is followed to
its end, symbolic links and all, before it is judged; and it is judged again when a worker loads it.
"""

import json
from collections.abc import Iterable
from pathlib import Path, PurePath

from app.errors import R2FError
from app.settings import Settings

INDEX = "*.safetensors.index.json"
ADAPTER = "adapter_config.json"  # transformers would load the base model that it names, from wherever that is


class OutsideSources(R2FError):
    """The path, or what a file there names, is not in a folder that models and decoders may come from
    (R2F_MODEL_FOLDERS)."""


def resolve(path: Path, settings: Settings) -> Path:
    """Where a path leads.

    Raises:
        OutsideSources: beyond the folders of the settings, or nowhere at all.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # not there, a circle of links, a NUL
        raise OutsideSources from error
    if not any(real.is_relative_to(folder.resolve()) for folder in settings.sources):
        raise OutsideSources
    return real


def resolve_all(folder: Path, patterns: Iterable[str], settings: Settings) -> Path:
    """Where a folder leads, with every file of these names in it looked at too: each may be a link of its own.

    Raises:
        OutsideSources: see resolve; or a file sends its reader elsewhere.
    """
    real = resolve(folder, settings)
    for pattern in patterns:
        for file in real.glob(pattern):
            resolve(file, settings)
    if leads_elsewhere(real):
        raise OutsideSources
    return real


def leads_elsewhere(folder: Path) -> bool:
    """Whether a file of a model's folder would have its reader load files from elsewhere."""
    return (folder / ADAPTER).exists() or not all(_stays(index) for index in folder.glob(INDEX))


def _stays(index: Path) -> bool:
    """Whether all that an index of weights in several files names lies beside it: the loader would follow any path."""
    try:
        names = json.loads(index.read_bytes())["weight_map"].values()
        return all(PurePath(name).name == name and name.endswith(".safetensors") for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
