"""Django itself, for the threads behind redpen.asgi and for any WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "redpen.settings")
application = get_wsgi_application()
