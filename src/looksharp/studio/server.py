"""Serve the studio on this machine: the pages, the pictures, and the end of it all."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.studio.guarding import Guard, is_loopback
from looksharp.studio.lean import lean_imports
from looksharp.studio.settings import StudioSettings
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["serve"]

_GRACE = 2  # seconds that open connections have when the studio ends
_PATIENCE = 60.0  # seconds that a busy browser has to connect, or to come back, before its page is forgotten


def serve(settings: StudioSettings) -> None:
    """Serve the studio until it is interrupted.

    Raises:
        ValueError: if the folder is no run, the port is taken, or NiceGUI is not installed.
    """
    workspace = Workspace(settings)
    bound = _bound(settings.host, settings.port)
    port = int(bound.getsockname()[1])
    token, once = secrets.token_urlsafe(24), secrets.token_urlsafe(24) if settings.browser else ""
    name = settings.host if settings.host != "0.0.0.0" else "127.0.0.1"
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/?token="

    with lean_imports():
        try:
            import uvicorn

            app = _application(workspace, lambda: _announce(address, token, once, settings))
        except ImportError as error:
            raise ValueError(f"the studio needs {error.name}: install looksharp[studio]") from None
    guard = Guard(app, settings.host, port, token, once)
    # A browser that leaves before it is answered is no error worth a traceback; NiceGUI reports those of pages.
    config = uvicorn.Config(guard, log_level="critical", access_log=False, timeout_graceful_shutdown=_GRACE)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        workspace.close()
        bound.close()


def _bound(host: str, port: int) -> socket.socket:
    """Listen on an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"host {host}, port {port} cannot be served on: {reason}; choose another --port") from None


def _application(workspace: Workspace, started: Callable[[], None]) -> FastAPI:
    """Return what is served: routes for pictures, and every page; `started` is called once it is."""
    from fastapi import FastAPI
    from nicegui import app as pages
    from nicegui import ui

    from looksharp.studio.layout import add_pages
    from looksharp.studio.routes import add_routes

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        started()
        yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    add_routes(app, workspace)
    add_pages(workspace)
    pages.config.quasar_config["loadingBar"]["skipHijack"] = True  # it has no name for those who do not see it
    ui.run_with(
        app,
        title=f"{workspace.title} · looksharp studio",
        favicon=Path(__file__).with_name("icon.svg"),
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=_PATIENCE,
    )
    return app


def _announce(address: str, token: str, once: str, settings: StudioSettings) -> None:
    print(f"Open {address}{token} in a browser; Ctrl-C ends the studio.", flush=True)
    if not is_loopback(settings.host):
        print("Others in the network who have this address can see the images and start trainings.", flush=True)
    if settings.browser:
        threading.Thread(target=webbrowser.open, args=(f"{address}{once}",), daemon=True).start()
