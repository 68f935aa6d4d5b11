"""A refusal of a page is a page too."""

import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from app.clock import DELETION_ID
from app.dashboard.rendering import page
from app.errors import Problem
from app.problems import from_validation, problem_response

_ABOUT = re.compile(rf"^(?:/ui)?/deletions/({DELETION_ID.strip('^$')})(?:/|$)")


class PageRoute(APIRoute):
    """A route that answers problems to people as pages; one that is also documented, only where HTML is preferred."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with problems turned into pages."""
        handle = super().get_route_handler()

        async def handle_for_people(request: Request) -> Response:
            try:
                return await handle(request)
            except (Problem, RequestValidationError) as error:
                if self.include_in_schema and not prefers_html(request):
                    raise
                problem = error if isinstance(error, Problem) else from_validation(error.errors())
                return (
                    login_first(request) if problem.status == 401 and _is_page(request) else refusal(request, problem)
                )

        return handle_for_people


def answer(request: Request, problem: Problem) -> Response:
    """What is wrong, as a page where a browser asks."""
    return refusal(request, problem) if prefers_html(request) else problem_response(problem)


def refusal(request: Request, problem: Problem) -> Response:
    """A page that says what is wrong, and leads back to the deletion that it is about, if it is about one."""
    back = f"/ui/deletions/{found[1]}" if (found := _ABOUT.match(request.url.path)) and problem.status != 404 else "/"
    caller = getattr(request.state, "caller", None)  # where it got so far
    response = page("problem.html", problem.status, caller=caller, problem=problem, back=back)
    response.headers.update(problem.headers)
    return response


def login_first(request: Request) -> Response:
    """Have the browser log in and come back."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/ui/login?{urlencode({'to': wanted})}", status_code=303)


def _is_page(request: Request) -> bool:
    """Whether a whole page is asked for: a part of one cannot show how to log in."""
    return request.method == "GET" and "HX-Request" not in request.headers


def prefers_html(request: Request) -> bool:
    """Whether a browser asks, which names HTML; a program that takes anything gets JSON."""
    kinds = [kind.strip().lower() for kind in request.headers.get("accept", "").split(",")]
    names = [kind.partition(";")[0].strip() for kind in kinds if not kind.replace(" ", "").endswith("q=0")]
    if "text/html" not in names:
        return False
    return "application/json" not in names or names.index("text/html") < names.index("application/json")
