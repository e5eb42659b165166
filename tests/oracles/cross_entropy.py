"""The cross-entropy method in plain Python and NumPy, one candidate at a time."""

import numpy as np


def generation(candidates, fitness, ties, elites, mean, std, ema=0.0, floor=0.0):
    """Mean, deviation and best member after one generation, as a loop over sorted tuples."""
    order = sorted(range(len(fitness)), key=lambda i: (-fitness[i], -ties[i], i))
    chosen = np.array([candidates[i] for i in order[:elites]], np.float64)
    new_mean = sum(chosen) / elites
    new_std = np.sqrt(sum((c - new_mean) ** 2 for c in chosen) / (elites - 1))
    mean = (1 - ema) * new_mean + ema * np.asarray(mean, np.float64)
    std = np.maximum((1 - ema) * new_std + ema * np.asarray(std, np.float64), floor)
    return mean, std, candidates[order[0]]
