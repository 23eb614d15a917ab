"""What is done around every request: headers that protect the answer, and an end to what nobody foresaw.

Comes in: an ASGI application. Goes out: the same, of which no answer is kept by those in between.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.problems import problem_of


class Wrapping:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_protected(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_protected)
        except Exception as error:  # noqa: BLE001 - logged there, and told as a fault of ours
            problem = problem_of(error)
            if not began:
                await problem.response()(scope, receive, send_protected)
