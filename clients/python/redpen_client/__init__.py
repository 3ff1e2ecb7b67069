"""Sends a product's answers and its users' reactions to Redpen, and reads back what people think.

from redpen_client import Client

redpen = Client("https://redpen.example.org", key="rp_live_...")
answer = redpen.responses.send([{"role": "user", "content": "How long do lamps last?"}], "About five years.")
redpen.reactions.shown(answer, user="u-81")
redpen.reactions.send(answer, "like", user="u-81")
"""

from redpen_client.client import AsyncClient, Client
from redpen_client.delivery import Refusal, Stats
from redpen_client.errors import ApiError, Away, Problem, RedpenError
from redpen_client.transport import VERSION as __version__

__all__ = ["ApiError", "AsyncClient", "Away", "Client", "Problem", "RedpenError", "Refusal", "Stats", "__version__"]
