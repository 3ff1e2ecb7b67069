"""Objectives: pure functions on tensors that return a total and what it is to be divided by. The loop divides once.

Shapes, the same in all of them:

    N  trained tokens of a pack, flat: first row first, first token first; no prompt, no padding (`ragged.Ragged`)
    B  rows (answers), one entry each        P  pairs, one entry each        E  examples of whatever kind
    C  classes or labels                     Q, G  prompts and the answers to each (`credit`)

No config, no logging, no `.item()`; keyword options. What is not trained (references, old log-probabilities,
advantages, targets) is never differentiated, whoever calls. A mask takes tokens out of numerator and denominator
alike, and what nothing is left of gives loss 0 with gradient 0.

`table` names them all with their inputs, options, sources and counts, and can be read without torch: what
`__init__.pyi` lists is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
