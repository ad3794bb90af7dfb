"""What is liked, learned from answers: in order with them, the same in both libraries, and asked for where it helps."""

from __future__ import annotations

import numpy as np
import torch

from closedloop.controller.belief.preference import Liking, question

RNG = np.random.default_rng(0)
Y = RNG.random((25, 2)) * [1.0, 100.0]


def liked(Y: np.ndarray) -> np.ndarray:
    return -((Y[:, 0] - 0.6) ** 2) - ((Y[:, 1] - 30.0) / 100.0) ** 2


def answered(pairs: np.ndarray) -> np.ndarray:
    values = liked(Y)
    return np.array([(a, b) if values[a] > values[b] else (b, a) for a, b in pairs])


def test_answers_are_kept_and_others_foretold() -> None:
    pairs = RNG.integers(25, size=(60, 2))
    answers = answered(pairs[pairs[:, 0] != pairs[:, 1]])
    liking = Liking.learn(Y, answers)
    mean = liking.mean(Y)
    assert (mean[answers[:, 0]] > mean[answers[:, 1]]).mean() > 0.95
    everywhere = RNG.random((300, 2)) * [1.0, 100.0]
    assert np.corrcoef(liking.mean(everywhere), liked(everywhere))[0, 1] > 0.9
    np.testing.assert_allclose(liking.mean(torch.tensor(Y)).numpy(), mean, atol=1e-12)
    S = liking.covariance(Y)
    assert np.linalg.eigvalsh(S).min() > -1e-8 and S.diagonal().max() <= 1.0 + 1e-9
    assert S[answers[0, 0], answers[0, 0]] < 1.0  # an answer says something


def test_answers_that_contradict_each_other_leave_both_alike() -> None:
    liking = Liking.learn(Y, np.array([(0, 1), (1, 0)]))
    mean = liking.mean(Y)
    np.testing.assert_allclose(mean[0], mean[1], atol=1e-9)
    one_sided = Liking.learn(Y, np.array([(0, 1)] * 5))
    assert one_sided.mean(Y)[0] > one_sided.mean(Y)[1] and np.isfinite(one_sided.mean(Y)).all()


def test_the_questions_lead_to_the_best_item_sooner_than_pairs_at_random() -> None:
    answers = np.empty((0, 2), dtype=int)
    for _ in range(14):
        pair = question(Y, answers)
        assert pair is not None and frozenset(pair) not in {frozenset(a) for a in answers.tolist()}
        answers = np.concatenate([answers, answered(np.array([pair]))])
    found = liked(Y)[int(Liking.learn(Y, answers).mean(Y).argmax())]
    at_random = []
    for seed in range(8):
        pairs = np.random.default_rng(seed).permuted(np.tile(np.arange(25), (14, 1)), axis=1)[:, :2]
        at_random.append(liked(Y)[int(Liking.learn(Y, answered(pairs)).mean(Y).argmax())])
    assert found >= np.median(at_random) and found > np.sort(liked(Y))[-4]


def test_where_all_pairs_were_compared_nothing_is_asked() -> None:
    assert question(Y[:2], np.array([(0, 1)])) is None
