"""What a caller is told of problems: RFC 9457 bodies, and the list of their kinds."""

from builtins import type as kind

from pydantic import Field

from app.errors import Problem
from app.views import View


class FieldProblem(View):
    """One field of the request that is wrong; its value is never repeated."""

    field: str
    type: str
    detail: str


class ProblemView(View):
    """RFC 9457 problem details."""

    type: str = Field(description="Stable name of the problem; GET it for what it means.")
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] | None = None


class ProblemType(View):
    """A kind of problem."""

    title: str
    status: int
    type: str

    @classmethod
    def of(cls, problem: kind[Problem]) -> "ProblemType":
        """The class as callers see it."""
        return cls(type=problem.uri(), title=problem.title(), status=problem.status)


class ProblemTypes(View):
    """Every kind of problem."""

    items: list[ProblemType]
