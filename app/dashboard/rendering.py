"""Pages out of templates: everything is escaped, and the policy lets nothing in from elsewhere and nothing inline."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from app import clock
from app.access import Caller, Scope
from app.deadlines import is_overdue

STATIC = Path(__file__).parent / "static"
SWAGGER = Path(str(files("fastapi_offline") / "static"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_UNITS = (
    (timedelta(days=1), "d"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "min"),
    (timedelta(seconds=1), "s"),
)


class Assets(StaticFiles):
    """Files that never change under their address, which carries a hash of what they hold."""

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Send a file whole: nobody needs a part of one, and what the library says of a bad range is no problem."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    async def get_response(self, path: str, scope: Connection) -> Any:
        """The file, to be kept for good."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["Accept-Ranges"] = "none"
        return response


@cache
def environment() -> Environment:
    """The templates and what they are written with."""
    made = Environment(
        loader=PackageLoader("app.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": static, "now": clock.now, "pages_for": pages_for}
    made.tests["overdue"] = is_overdue
    writers = (moment, span, words, percent, basis, number, size, query)
    made.filters |= {write.__name__: write for write in writers}
    return made


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one."""
    return HTMLResponse(environment().get_template(template).render(values), status, HEADERS)


def pages_for(caller: Caller | None) -> list[tuple[str, str]]:
    """The pages that the caller may see: address and name."""
    read, admin = (caller is not None and caller.may(scope) for scope in (Scope.DELETIONS_READ, Scope.ADMIN))
    pages = [("/", "Queue"), ("/ui/workers", "Workers"), ("/ui/models", "Models")] if read else []
    return pages + ([("/ui/audit", "Audit log")] if admin else []) + [("/docs", "API")]


@cache
def static(name: str) -> str:
    """The address of a file, different whenever the file is."""
    folder = SWAGGER if name.startswith("swagger-ui") else STATIC
    digest = sha256((folder / name).read_bytes()).hexdigest()[:12]
    return f"/static/{'swagger/' if folder is SWAGGER else ''}{name}?{digest}"


def moment(value: datetime) -> str:
    """A time for people, in UTC."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def span(length: timedelta) -> str:
    """A length of time in its largest unit."""
    for unit, name in _UNITS:
        if abs(length) >= unit:
            return f"{abs(length) // unit} {name}"
    return "0 s"


def words(code: str) -> str:
    """A code as words."""
    return str(code).replace("_", " ")


def basis(code: str) -> str:
    """A legal basis as lawyers cite it."""
    if code.startswith("gdpr_"):
        _, article, paragraph, letter = code.split("_")
        return f"GDPR art. {article}({paragraph})({letter})"
    return code.replace("ccpa_", "CCPA § ").replace("_", ".")


def percent(share: float | None) -> str:
    """A share for people; a dash where nothing was counted."""
    if share is None:
        return "–"
    return f"{min(round(share * 100, 1), 100 if share == 1 else 99.9):g} %"  # nearly all is not all


def query(chosen: Mapping[str, str | None], **more: str) -> str:
    """Chosen values as the query of an address."""
    return urlencode({name: value for name, value in {**chosen, **more}.items() if value})


def number(value: float | None, digits: int = 3) -> str:
    """A figure with as many digits as it deserves; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "–"
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
