"""Decisions are made on one thread: two are no faster below thousands of readings, and they change the last bits."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
