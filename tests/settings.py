"""Redpen's settings over a data folder that is made for this run of the tests and removed after it."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

if not os.environ.get("REDPEN_TESTS_DATA_DIR"):
    os.environ["REDPEN_TESTS_DATA_DIR"] = tempfile.mkdtemp(prefix="redpen-tests-")
for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "MODEL_SERVER_URL", "BASE_MODEL", "DEBUG", "HTTPS", "PORT"):
    os.environ.pop(name, None)  # a developer's own settings do not reach the tests
os.environ["DATA_DIR"] = os.environ["REDPEN_TESTS_DATA_DIR"]

from redpen.settings import *  # noqa: E402, F403

ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# No collectstatic before tests: files are served from the apps under their own names.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
REQUIRE_DURABLE = False
# Bells ring into nothing: what must happen is a due row, and a test calls the sweeper or the task itself.
CELERY_BROKER_URL = "memory://"
