#!/usr/bin/env python
"""Redpen's command line: puts platform/ on the import path and hands over to Django."""

import os
import sys
from pathlib import Path

# platform/ holds the package `redpen` and has no __init__.py: as a package it would hide the standard library's.
sys.path.insert(0, str(Path(__file__).resolve().parent / "platform"))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "redpen.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        sys.exit(f"{error}. {sys.executable} does not have Redpen's packages: run `make` to see the ways to start.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
