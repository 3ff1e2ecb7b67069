"""The folder `shared` that lies beside the checkout, or beside a folder above it: a clone may be made further down."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def shared(path: str) -> Path:
    """`shared/path`; where it is nowhere, the place beside the checkout."""
    places = [folder / "shared" / path for folder in REPOSITORY.parents]
    return next((place for place in places if place.exists()), places[0])
