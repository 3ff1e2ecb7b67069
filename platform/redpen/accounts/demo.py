"""The people of the demo project: known to the command that makes them and to the supervisor that prints them."""

from dataclasses import dataclass

DEMO_PASSWORD = "red-pen-demo"


@dataclass(frozen=True)
class DemoLogin:
    email: str
    name: str
    role: str
    password: str = DEMO_PASSWORD


DEMO_LOGINS = (
    DemoLogin("ada@demo.redpen", "Ada", "admin"),
    DemoLogin("mia@demo.redpen", "Mia", "reviewer"),
    DemoLogin("ben@demo.redpen", "Ben", "annotator"),
    DemoLogin("dev@demo.redpen", "Dev", "developer"),
    DemoLogin("vic@demo.redpen", "Vic", "viewer"),
)
