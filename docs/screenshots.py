"""Pictures of every page, in both themes, at a desk and on a phone: `make screenshots`, or from the root of a clone

    .venv/bin/python -m docs.screenshots [--first-screen] FOLDER [WORD …]

The service that is shown runs in a temporary folder and holds invented records. With words, only pages whose names
hold one of them are shown; with --first-screen, only what is seen of them without scrolling, as on the pictures of
docs/images. FOLDER/index.html has all the pictures side by side. It needs Chromium.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page

from app.access import DEFAULT_TENANT, Scope
from app.database import migrate
from app.settings import Settings
from tests.browser import launched
from tests.serving import Served, serving
from tests.showcase import EMPTY, PATIENT, filled

WIDTHS = {"desk": 1280, "phone": 390}
THEMES = ("light", "dark")
HEIGHT = 844  # of the window; a picture is as long as its page
API_HEIGHT = 3000  # the API's own page is too long to be shown whole
STYLE = "body{font:15px system-ui;margin:2rem}div{display:flex;gap:1rem;align-items:start}img{border:1px solid #999}"


class Album:
    """Pictures in a folder.

    Args:
        words: only pages whose names hold one of them are shown; every page if there are none.
        whole: also what is seen only after scrolling.
    """

    def __init__(self, browser: Browser, folder: Path, words: list[str], *, whole: bool) -> None:
        self._browser = browser
        self._folder = folder
        self._words = words
        self._whole = whole
        self._taken: dict[str, list[str]] = {}

    def take(self, served: Served, pages: Mapping[str, str]) -> None:
        """Pictures of pages by their paths."""
        for name, path in pages.items():
            for page in self._each(name):
                page.goto(served.url + path)

    def take_api(self, served: Served) -> None:
        """The API's own page, with a call opened."""
        for page in self._each("api", API_HEIGHT):
            page.goto(f"{served.url}/docs#/deletions/submit_deletion")
            page.get_by_role("button", name="Execute").wait_for()
            page.evaluate("window.scrollTo(0, 0)")

    def take_file(self, served: Served, report: str) -> None:
        """A report as the one file that is sent."""
        for page in self._each("report as a file"):
            file = self._folder / "report.html"
            file.write_bytes(page.request.get(f"{served.url}{report}?download").body())
            page.goto(file.absolute().as_uri())

    def take_login(self, served: Served) -> None:
        """A key that does not work, and then one that does."""
        for page in self._each("login refused"):
            _log_in(page, served, "r2f_mistyped")
        key = served.services.keys.create(DEFAULT_TENANT, "pictures", frozenset(Scope)).token
        for page in self._each("queue logged in"):
            _log_in(page, served, key)

    def lay_out(self) -> None:
        """One page with all the pictures."""
        rows = "\n".join(
            f"<h2>{escape(name)}</h2><div>{''.join(f'<img src={file!r} width={width}>' for file, width in files)}</div>"
            for name, files in self._taken.items()
        )
        page = f"<!doctype html><meta charset=utf-8><title>Every page</title><style>{STYLE}</style>\n{rows}\n"
        (self._folder / "index.html").write_text(page, encoding="utf-8")

    def _each(self, name: str, height: int = 0) -> Iterator[Page]:
        """A page for each width and theme, to be brought to what is shown; its picture is taken afterwards."""
        if self._words and not any(word in name for word in self._words):
            return
        for width in WIDTHS:
            for theme in THEMES:
                file = f"{name.replace(' ', '-')}-{width}-{theme}.png"
                size = {"width": WIDTHS[width], "height": height or HEIGHT}
                with self._browser.new_context(color_scheme=theme, viewport=size, reduced_motion="reduce") as context:
                    page = context.new_page()
                    yield page
                    page.screenshot(path=self._folder / file, full_page=self._whole and not height)
                self._taken.setdefault(name, []).append((file, 640 if width == "desk" else 195))


def _log_in(page: Page, served: Served, key: str) -> None:
    page.goto(f"{served.url}/ui/login")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    page.wait_for_load_state()


def main(folder: Path, words: list[str], *, whole: bool) -> None:
    """Take the pictures of a service with nothing in it and of one with everything, and lay them out."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, launched() as browser:
        album = Album(browser, folder, words, whole=whole)
        with serving(_empty(Path(place) / "empty")) as served:
            album.take(served, EMPTY)
        settings = _empty(Path(place) / "full")
        pages = filled(settings)
        with serving(settings) as served:
            album.take(served, pages)
            album.take_api(served)
            album.take_file(served, pages["report forgotten"])
            album.take_login(served)
        album.lay_out()


def _empty(folder: Path) -> Settings:
    """Settings of a service in a fresh folder."""
    folder.mkdir()
    settings = Settings(data_dir=folder, log_level="ERROR", **PATIENT)
    migrate(settings.database)
    return settings


if __name__ == "__main__":
    parser = ArgumentParser(description="Pictures of every page.")
    parser.add_argument("--first-screen", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="*")
    wanted = parser.parse_args()
    main(wanted.folder, wanted.words, whole=not wanted.first_screen)
