"""`r2f serve`."""

from typing import Annotated

import typer

from app.commands.console import exit_codes, out
from app.supervisor import ChildKeepsDying, Supervisor, listen, worker_command


@exit_codes()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (R2F_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any free one (R2F_PORT).")] = None,
    worker: Annotated[bool, typer.Option(help="Migrate, and run a worker beside the API.")] = True,
    restarts: Annotated[
        int | None, typer.Option(help="Give up when the worker has died this often in a row and once more.")
    ] = None,
) -> None:
    """Run the service: the API in the foreground, and one worker beside it that is restarted when it dies."""
    from app.preflight import (
        bring_up_to_date,
        need_data_folder,
        need_services,
        need_web_packages,
        need_worker_packages,
        settings_of,
    )

    settings = settings_of(host=host, port=port)
    need_web_packages()
    need_data_folder(settings)
    need_services(settings)
    bound = listen(settings.host, settings.port)
    with bound:
        from app.main import create_app
        from app.server import Server

        server = Server(create_app(settings))
        address = bound.getsockname()
        out.print(f"Listening on http://{settings.host}:{address[1]} (operations: /docs)", soft_wrap=True)
        if not worker:
            server.run(sockets=[bound])
            return
        need_worker_packages()
        bring_up_to_date(settings)

        def give_up() -> None:
            server.should_exit = True

        with Supervisor(worker_command(), restarts=restarts, on_give_up=give_up) as supervisor:
            server.on_exit = supervisor.dismiss  # the run at hand is given back now, not when all requests have ended
            server.run(sockets=[bound])
        if supervisor.gave_up:
            raise ChildKeepsDying("The worker dies again and again; its own messages say why.")
