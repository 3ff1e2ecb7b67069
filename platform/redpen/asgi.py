"""The thin front: answers /livez itself, hands everything else to Django in bounded threads.

Under ASGI, Django runs sync views one at a time; behind a2wsgi each request has a thread of its own, WEB_THREADS at
most. What comes by the thousand (annotation.intake) is answered here, without the ORM.
"""

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.db import connection
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from redpen.wsgi import application as django_application  # isort: skip - sets Django up before what needs it
from annotation.intake.front import Intake


async def livez(request) -> PlainTextResponse:
    """The process runs and its event loop turns. Whether it can serve is /readyz' question."""
    return PlainTextResponse("ok\n")


pages = Starlette(routes=[Route("/livez", livez)])
# By default, not by Mount("/"): that is a regular expression, and a newline in an address ends it.
pages.router.default = WSGIMiddleware(django_application, workers=settings.WEB_THREADS)
application = Intake(pages, lambda: connection.settings_dict)
