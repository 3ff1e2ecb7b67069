"""The thin front: answers /livez itself, hands everything else to Django in bounded threads.

Under ASGI, Django runs sync views one at a time; behind a2wsgi each request has a thread of its own, WEB_THREADS at
most. What must hold many connections open (streams, ingestion) gets its routes here later, without the ORM.
"""

from a2wsgi import WSGIMiddleware
from django.conf import settings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from redpen.wsgi import application as django_application


async def livez(request) -> PlainTextResponse:
    """The process runs and its event loop turns. Whether it can serve is /readyz' question."""
    return PlainTextResponse("ok\n")


application = Starlette(
    routes=[
        Route("/livez", livez),
        Mount("/", WSGIMiddleware(django_application, workers=settings.WEB_THREADS)),
    ]
)
