"""Decisions are made on one thread: two are no faster below thousands of readings, and they change the last bits."""

from __future__ import annotations

import numpy.linalg  # noqa: F401
import scipy.linalg  # noqa: F401 - what is not loaded yet cannot be limited
import torch
from threadpoolctl import threadpool_limits

torch.set_num_threads(1)
threadpool_limits(limits=1)  # of the BLAS that NumPy and SciPy call
