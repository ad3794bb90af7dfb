"""What ``init`` writes: a campaign, a driver and a simulator that run as they stand."""

from __future__ import annotations

CAMPAIGN = """\
# A campaign: change what is marked with <--, then
#   closedloop check campaign.yaml                        validate it; touches no instrument
#   closedloop run campaign.yaml --executor inline        run it
#   closedloop report                                     and look at what it came to
name: anneal
description: The strongest steel from a furnace that one can set in temperature and time.
seed: 1

# What may be set. <--
parameters:
  temperature: {low: 300, high: 900, unit: degC}
  time: {low: 1, high: 60, unit: min, scale: log}
  # atmosphere: {choices: [argon, nitrogen]}              a choice
  # cycles: {kind: integer, low: 1, high: 5}              a whole number
constraints: ["temperature + 4 * time <= 1000"]

# What is measured. <--
responses:
  strength: {unit: MPa}
  grain: {unit: um}

# Who answers. The goal is to be reached at the instrument; the simulator is cheap and a little wrong. <--
sources:
  furnace:
    instrument: "./furnace.py:Furnace"
    settings: {port: rehearsal}                           # arguments of the class
    cost: {money: 10}
  model:
    simulator: "./furnace_model.py:FurnaceModel"
    cost: {money: 0.2}
    unknowns:                                             # what the model does not know: its prior
      peak: {normal: [600, 60]}                           # mean and standard deviation
      rate: {lognormal: [0.3, 0.4]}                       # median and standard deviation of the logarithm

goal: {maximize: strength, subject_to: ["grain <= 30"]}
budget: {money: 150, trials: 60}
"""

DRIVER = '''\
"""The furnace: replace the lines that are marked with <-- by your device's own."""

import math
import random

import closedloop as cl


class Furnace(cl.Instrument):
    """One annealing run and two measurements."""

    timeout = 60.0  # seconds that one trial may take

    def __init__(self, port: str = "rehearsal") -> None:
        self.port = port
        self.noise = random.Random(0)

    def connect(self) -> None:
        """Open the device; raise cl.SourceError with the remedy where it is not there."""  # <--

    def measure(self, setting):
        """Set, wait, read. Raise any error where it fails, and it is kept with the trial."""
        temperature = setting["temperature"] + self.noise.gauss(0.0, 2.0)  # <-- what the furnace really reached
        strength, grain = _rehearsal(temperature, setting["time"])  # <-- what the device answered
        return cl.Reading(
            values={"strength": strength + self.noise.gauss(0.0, 3.0), "grain": grain + self.noise.gauss(0.0, 0.3)},
            sd={"strength": 3.0, "grain": 0.3},
            achieved={"temperature": temperature},
        )

    def make_safe(self) -> None:
        """Heaters off: called after a fault, on Ctrl-C and at the end."""  # <--

    def close(self) -> None:
        """Let go of the device."""  # <--


def _rehearsal(temperature, time):
    done = 1.0 - math.exp(-0.25 * time)
    strength = 180.0 + 240.0 * done * math.exp(-(((temperature - 640.0) / 140.0) ** 2))
    return strength, 8.0 + 0.06 * max(temperature - 400.0, 0.0) * done
'''

SIMULATOR = '''\
"""A model of the furnace: replace it by what you know of yours, or leave it out of the campaign."""

import numpy as np

import closedloop as cl


class FurnaceModel(cl.Simulator):
    """Strength and grain size after annealing; peak and rate are known only roughly."""

    unknowns = {"peak": 600.0, "rate": 0.3}  # nominal values; the campaign gives them priors
    is_vectorised = True  # the unknowns arrive as arrays, one value a member of the ensemble

    def simulate(self, setting, unknowns):
        """The responses at one setting."""
        temperature, time = setting["temperature"], setting["time"]
        done = 1.0 - np.exp(-unknowns["rate"] * time)
        strength = 180.0 + 220.0 * done * np.exp(-(((temperature - unknowns["peak"]) / 150.0) ** 2))
        return {"strength": strength, "grain": 8.0 + 0.055 * max(temperature - 400.0, 0.0) * done}
'''

FILES = {"campaign.yaml": CAMPAIGN, "furnace.py": DRIVER, "furnace_model.py": SIMULATOR}
