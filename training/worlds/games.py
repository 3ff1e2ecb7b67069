"""The mathematics of preferences that may go in circles: the answer that nothing beats on average, how far a policy is
from it, and how much of the preferences no score of single answers can say.

A preference matrix M is float64 [n, n] with M[i, j] = P(i, j) in [-1, 1], antisymmetric: (1 + M[i, j]) / 2 is the
chance that i is preferred to j (spo.md). Numpy alone; a policy is a vector of n probabilities.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]


def antisymmetric(preferences: ArrayLike) -> Matrix:
    """The matrix, checked: square and M = -M^T (to 1e-9); raises ValueError otherwise."""
    matrix = np.asarray(preferences, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"A preference matrix is square; this one is {matrix.shape}.")
    if np.abs(matrix + matrix.T).max(initial=0.0) > 1e-9:
        raise ValueError("Preferences must be antisymmetric: P(i, j) = -P(j, i).")
    return matrix


def from_chances(chances: ArrayLike) -> Matrix:
    """[n, n] chances that i is preferred to j, as a preference matrix; what is said of a pair both ways is averaged,
    and NaN (never compared) is a tie.
    """
    known = np.nan_to_num(2 * np.asarray(chances, dtype=np.float64) - 1, nan=0.0)
    return (known - known.T) / 2


def exploitability(preferences: ArrayLike, policy: ArrayLike) -> float:
    """max_i (M p)_i: by how much the best answer beats the policy; 0 exactly for a minimax winner."""
    return float((antisymmetric(preferences) @ np.asarray(policy, dtype=np.float64)).max())


def minimax_winner(preferences: ArrayLike, *, rounds: int = 100) -> Matrix:
    """The policy that no other beats: p >= 0, sum p = 1, M p <= 0. It exists for every antisymmetric M.

    Solved exactly by trying supports: for a support S, M_SS p_S = 0 and nothing outside gains. The support of an
    answer in general position has an odd size, and there are few answers; above 12 the linear program is solved by
    optimistic self-play of `rounds` x 1000 steps, whose average is within about ln(n) / (1000 rounds) of it.
    """
    matrix = antisymmetric(preferences)
    n = len(matrix)
    if n > 12:
        return _by_self_play(matrix, 1000 * rounds)
    best: Matrix | None = None
    worst = np.inf
    for size in range(1, n + 1):
        for chosen in itertools.combinations(range(n), size):
            found = _on_support(matrix, list(chosen))
            if found is None:
                continue
            gain = float((matrix @ found).max())
            if gain < worst - 1e-12:
                best, worst = found, gain
        if worst < 1e-9:
            break
    assert best is not None
    return best


def _on_support(matrix: Matrix, chosen: list[int]) -> Matrix | None:
    """The policy on these answers against which all of them do equally well; None where there is none."""
    inner = matrix[np.ix_(chosen, chosen)]
    system = np.vstack([inner, np.ones(len(chosen))])
    target = np.append(np.zeros(len(chosen)), 1.0)
    solved = np.linalg.lstsq(system, target, rcond=None)[0]
    if np.abs(system @ solved - target).max() > 1e-9 or solved.min() < -1e-12:
        return None
    policy = np.zeros(len(matrix))
    policy[chosen] = np.maximum(solved, 0.0)
    return policy / policy.sum()


def _by_self_play(matrix: Matrix, steps: int) -> Matrix:
    n = len(matrix)
    weights, last, average = np.zeros(n), np.zeros(n), np.zeros(n)
    for _ in range(steps):
        policy = _softmax(weights + 0.1 * last)
        last = matrix @ policy
        weights += 0.1 * last
        average += policy
    return average / average.sum()


def hedge(preferences: ArrayLike, *, rounds: int = 1000, rate: float = 0.1) -> tuple[Matrix, Matrix]:
    """Exact self-play: w <- w + rate M p, p = softmax(w), from w = 0. The average policy over the rounds, and the last
    one played. The average is (ln n / (rate rounds) + rate / 2)-exploitable.
    """
    matrix = antisymmetric(preferences)
    weights, average = np.zeros(len(matrix)), np.zeros(len(matrix))
    policy = _softmax(weights)
    for _ in range(rounds):
        policy = _softmax(weights)
        average += policy
        weights = weights + rate * (matrix @ policy)
    return average / rounds, policy


def _softmax(values: Matrix) -> Matrix:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def bradley_terry(preferences: ArrayLike, *, weights: ArrayLike | None = None, steps: int = 2000) -> Matrix:
    """Scores float64 [n] (mean 0) whose differences fit the chances best: the maximum of the likelihood when i and j
    were compared `weights[i, j]` times (once each, if not given). Where preferences only go in circles, all are equal.
    """
    chance = (1 + antisymmetric(preferences)) / 2
    n = len(chance)
    counts = np.ones((n, n)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = (counts + counts.T) / 2 * (1 - np.eye(n))
    scores = np.zeros(n)
    for _ in range(steps):  # Newton's method on a concave likelihood, a whisper of a prior holds the mean
        won = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
        slope = (counts * (chance - won)).sum(1) - 1e-9 * scores
        bend = counts * won * (1 - won)
        curve = np.diag(bend.sum(1)) - bend + 1e-9 * np.eye(n) + 1.0 / n
        step = np.linalg.solve(curve, slope)
        scores = np.clip(scores + np.clip(step, -1, 1), -30, 30)
        scores = scores - scores.mean()
        if np.abs(step).max() < 1e-10:
            break
    return scores


def curl(preferences: ArrayLike) -> float:
    """What share of the antisymmetric log-odds no difference of scores explains: |L - (s_i - s_j)|^2 / |L|^2, s the
    least-squares scores. 0: transitive in scores; 1: nothing but circles. Chances are kept within .001 of 0 and 1.
    """
    matrix = np.clip(antisymmetric(preferences), -0.998, 0.998)
    odds = np.log1p(matrix) - np.log1p(-matrix)
    scores = odds.mean(1)
    total = float((odds**2).sum())
    return float(((odds - (scores[:, None] - scores[None, :])) ** 2).sum()) / total if total else 0.0


def circles(preferences: ArrayLike) -> float:
    """The share of all triples that go in a circle (i beats j beats k beats i); 0 where there are fewer than three."""
    matrix = antisymmetric(preferences)
    triples = list(itertools.combinations(range(len(matrix)), 3))
    found = 0
    for i, j, k in triples:
        signs = np.sign([matrix[i, j], matrix[j, k], matrix[k, i]])
        found += bool(abs(signs.sum()) == 3)
    return found / len(triples) if triples else 0.0


def crowd(orders: ArrayLike, shares: ArrayLike) -> Matrix:
    """The preferences of a crowd of groups that each have an order of their own: `orders` [groups, n] are utilities,
    `shares` [groups] how many people are of each group. Three groups whose orders are turned make a circle.
    """
    utilities, weight = np.asarray(orders, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    signs = np.sign(utilities[:, :, None] - utilities[:, None, :])
    return np.einsum("g,gij->ij", weight / weight.sum(), signs)
