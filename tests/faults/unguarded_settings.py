"""Redpen's own settings with the guard against doubles taken out: for the self-test of the ledger."""

from redpen.settings import *  # noqa: F403
from redpen.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.unguarded.Unguarded"]
