"""The engine: what every recipe is composed of, as pure functions on tensors. It knows no Django.

Importing this package costs nothing: a part (and torch with it) is loaded when it is first used, so that the web
process can read the recipes' configs without ever importing torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "chats",
        "checkpoints",
        "alarms",
        "answers",
        "attention",
        "adapters",
        "credit",
        "critiques",
        "critique_writing",
        "distributed",
        "evidence",
        "export",
        "fitting",
        "forest",
        "heads",
        "kl",
        "lean",
        "lending",
        "logprobs",
        "loop",
        "marks",
        "measures",
        "models",
        "objectives",
        "packs",
        "pair_scoring",
        "passages",
        "policy",
        "quoting",
        "ragged",
        "reward_scoring",
        "rewards",
        "rollouts",
        "rows",
        "scoring",
        "segment_scoring",
        "segments",
        "shielding",
        "smollm2",
        "templates",
        "tiny",
        "tokens",
        "watch",
        "world_bases",
    ],
)
