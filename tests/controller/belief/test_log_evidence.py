"""The evidence written out in NumPy: its value and gradient are autograd's, and its posterior that of the BoTorch model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from closedloop.controller.belief.log_evidence import Layout, LogEvidence
from closedloop.controller.belief.multi_source import MultiSourceGP
from closedloop.controller.belief.multi_source_fit import priors, start
from closedloop.controller.belief.multi_source_prior import Data, log_evidence, tensors
from closedloop.controller.belief.posterior import TargetPosterior

Array = np.ndarray
N_RESPONSES = 2


def data(n: tuple[int, ...], groups: tuple[int, ...], rng: np.random.Generator) -> Data:
    c = len(groups)

    def source(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        Y, V = rng.standard_normal((N_RESPONSES, n)), 0.01 * rng.random((N_RESPONSES, n))
        return torch.tensor(rng.random((n, c))), torch.tensor(Y), torch.tensor(V)

    return Data.of([source(k) for k in n], groups)


def somewhere(n_sources: int, n_parameters: int, rng: np.random.Generator) -> dict[str, Array]:
    theta = start(priors(n_parameters, [False] + [True] * (n_sources - 1)), N_RESPONSES)
    return {k: v + 0.3 * rng.standard_normal(v.shape) for k, v in theta.items()}


@pytest.mark.parametrize("n", [(20,), (12, 9), (12, 9, 5), (0, 9)])
def test_value_and_gradient_are_those_of_autograd(n: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(n))
    readings, theta = data(n, (0, 1, 1, 2), rng), somewhere(len(n), 3, rng)
    layout = Layout.of({k: v.shape[1] for k, v in theta.items()})
    leaves = {k: v.requires_grad_() for k, v in tensors(theta).items()}
    values = log_evidence(leaves, readings)
    gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    for j in range(N_RESPONSES):
        flat = np.concatenate([theta[k][j] for k in layout.places])
        value, gradient = LogEvidence(readings, j, layout)(flat)
        assert value == pytest.approx(float(values[j].detach()), rel=1e-10)
        assert np.allclose(gradient, np.concatenate([g[j].numpy() for g in gradients]), rtol=1e-8, atol=1e-8)


def model(rng: np.random.Generator, *, shift: bool = True) -> MultiSourceGP:
    T = 0.05 * rng.standard_normal((3, 3)) * shift

    def achieved(X: torch.Tensor | Array) -> torch.Tensor | Array:
        return X + X @ (X.new_tensor(T) if isinstance(X, torch.Tensor) else T)

    readings, theta = data((15, 8), (0, 1, 2), rng), somewhere(2, 3, rng)
    center, scale = np.array([3.0, -1.0]), np.array([2.0, 0.5])
    return MultiSourceGP(tensors(theta), readings, center=center, scale=scale, achieved=achieved)


@pytest.mark.parametrize("shift", [True, False])
def test_the_posterior_in_numpy_is_that_of_the_botorch_model_with_its_gradient(shift: bool) -> None:
    rng = np.random.default_rng(3)
    gp = model(rng, shift=shift)
    posterior, X = TargetPosterior.of(gp), rng.random((6, 3))
    rows = torch.tensor(X, requires_grad=True)
    theirs = gp.posterior(rows[:, None])
    for j in range(N_RESPONSES):
        ours = posterior.at(j, X, posterior.responses[j])
        mean, sd = theirs.mean[:, 0, j], theirs.variance[:, 0, j].sqrt()
        assert np.allclose(ours.mean[:, 0], mean.detach(), rtol=1e-9)
        assert np.allclose(ours.sd, sd.detach(), rtol=1e-6)  # BoTorch's carries a nugget
        (d_mean,) = torch.autograd.grad(mean.sum(), rows, retain_graph=True)
        (d_sd,) = torch.autograd.grad(sd.sum(), rows, retain_graph=True)
        assert np.allclose(ours.d_mean[:, 0], d_mean, rtol=1e-6, atol=1e-9)
        assert np.allclose(ours.d_sd, d_sd, rtol=1e-5, atol=1e-6)


def test_what_is_supposed_known_is_known_and_moves_the_rest_as_conditioning_does() -> None:
    rng = np.random.default_rng(4)
    response = TargetPosterior.of(model(rng, shift=False)).responses[0]
    X, known = rng.random((6, 3)), rng.random((3, 3))
    draws = rng.standard_normal((5, 3))
    after = response.knowing(known, draws)
    assert (after.at(known, gradient=False).sd < 1e-3).all()
    C = response.covariance(np.concatenate([X, known]))
    gain = C[:6, 6:] @ np.linalg.inv(C[6:, 6:])
    samples = np.linalg.cholesky(C[6:, 6:]) @ draws.T
    expected = response.at(X, gradient=False).mean + gain @ samples
    found = after.at(X, gradient=False)
    assert np.allclose(found.mean, expected, atol=1e-4)
    assert np.allclose(found.sd**2, np.diag(C[:6, :6] - gain @ C[6:, :6]), atol=1e-5)
