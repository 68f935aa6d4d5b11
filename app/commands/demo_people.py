"""`r2f demo-people`."""

from typing import Annotated

import typer

from app.commands.console import exit_codes, out


@exit_codes()
def demo_people(
    count: Annotated[int, typer.Option("--people", min=2, max=48, help="How many people are planted.")] = 6,
    person: Annotated[int, typer.Option(min=0, help="Number of the one who is deleted.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="Every attribute, not only the first four.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Makes the people, and the order they are taught in.")] = 0,
) -> None:
    """Plant invented people in a model, delete one, and compare with a model trained without that one."""
    from app import demo_people as tour
    from app.planting import Cast
    from app.preflight import need_data_folder, need_worker_packages, settings_of
    from app.supervisor import UsedWrongly
    from worker.people.person import Attribute

    if person >= count:
        raise UsedWrongly(f"--person must be below {count}, the number of people.")
    attributes = tuple(Attribute) if every else Cast.attributes
    cast = Cast(count=count, attributes=attributes, person=person, seed=seed)
    settings = settings_of()
    need_data_folder(settings)
    need_worker_packages()
    tour.run(cast, settings, out)
