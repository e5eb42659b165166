"""One REINFORCE update as the reference makes it: a sequence at a time, with dense gradients of every weight.

In it, as released: composing all adapted matrices and copying them into the model; for the KL a pass of the base over
every sequence (the base's matrices are copied in and the composed ones back), whose log-probabilities over the whole
vocabulary are kept; then for each sequence a forward and a backward pass, in which all parameters of the model have
gradients; one step of the chain rule from the dense gradients to p; clipping to a norm of 1e-3; Adam. Everything is
float32 (released: bfloat16 on GPUs), and the factors are kept where the model is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks._reinforce_work import CLIP, RATE
from seal_jax.transformer2.rows import Row

Factors = dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def parameter_name(path: str, layer: int) -> str:
    """What transformers calls the kernel of a layer."""
    return f"model.layers.{layer}.{path.removeprefix('layers/').removesuffix('/kernel').replace('/', '.')}.weight"


class Reference:
    """A transformers model with an SVF expert. factors, expert: numpy arrays as `seal_jax` has them."""

    def __init__(self, model: Any, factors: dict[str, Any], expert: dict[str, Any]) -> None:
        self.model = model
        self.factors: Factors = {}
        self.raw: dict[str, torch.Tensor] = {}
        for path, factor in factors.items():
            for i, raw in enumerate(expert[path]["raw"]):
                name = parameter_name(path, i)
                u, s, vt = (torch.tensor(np.asarray(factor[key][i])) for key in ("u", "s", "vt"))
                self.factors[name] = vt.T.contiguous(), s, u.T.contiguous()  # torch keeps [out, in]
                self.raw[name] = torch.tensor(np.asarray(raw), requires_grad=True)
        self.weights = {name: model.get_parameter(name) for name in self.factors}
        self.base = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.Adam(self.raw.values(), lr=RATE)

    def composed(self, name: str) -> torch.Tensor:
        """The adapted matrix of one module."""
        out, s, back = self.factors[name]
        z = torch.sigmoid(self.raw[name])
        return (out * (s * z)) @ back * (s.sum() / (s * z).sum())

    def gradients(self, rows: Sequence[Row]) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss, and its gradient for each p, which also is in `.grad`."""
        self._copy({name: self.composed(name).detach() for name in self.factors})
        references = self._references(rows) if any(row.divergence for row in rows) else [None] * len(rows)
        total = 0.0
        for row, reference in zip(rows, references):
            loss = self._loss(row, reference)
            loss.backward()
            total += float(loss.detach())
        for name, weight in self.weights.items():
            self.composed(name).backward(weight.grad)
        return total, {name: raw.grad for name, raw in self.raw.items() if raw.grad is not None}

    def update(self, rows: Sequence[Row]) -> float:
        """One optimizer step; the loss before it."""
        loss, _ = self.gradients(rows)
        torch.nn.utils.clip_grad_norm_(self.raw.values(), CLIP)
        self.optimizer.step()
        self.forget()
        return loss

    def forget(self) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad()
        self.model.zero_grad()

    def held_bytes(self, rows: Sequence[Row]) -> int:
        """Of gradients and optimizer state, when a batch has been differentiated and an update was made before."""
        self.gradients(rows)
        states = [x for state in self.optimizer.state.values() for x in state.values()]
        everything = [*self.model.parameters(), *self.raw.values()]
        held = [p.grad for p in everything if p.grad is not None] + states
        self.forget()
        return sum(x.numel() * x.element_size() for x in held)

    def choose_threads(self, rows: Sequence[Row], cores: int) -> int:
        """Set torch to as many threads as serve it best, one or all cores; returns how many."""
        rates = {}
        for threads in {1, cores}:
            torch.set_num_threads(threads)
            spent = []
            for _ in range(3):
                start = time.perf_counter()
                self.gradients(rows)
                spent.append(time.perf_counter() - start)
                self.forget()
            rates[threads] = min(spent)
        threads = min(rates, key=lambda n: rates[n])
        torch.set_num_threads(threads)
        return threads

    def _copy(self, matrices: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, matrix in matrices.items():
                self.weights[name].copy_(matrix)

    def _references(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        adapted = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._copy(self.base)
        with torch.no_grad():
            found = [self._log_probs(row) for row in rows]
        self._copy(adapted)
        return found

    def _log_probs(self, row: Row) -> torch.Tensor:
        """`[completion, V]`."""
        logits = self.model(input_ids=torch.tensor([[*row.prompt, *row.completion]])).logits
        return torch.log_softmax(logits[0, len(row.prompt) - 1 : -1], -1)

    def _loss(self, row: Row, reference: torch.Tensor | None) -> torch.Tensor:
        log_probs = self._log_probs(row)
        chosen = log_probs.gather(1, torch.tensor(row.completion)[:, None]).sum()
        loss = -row.weight * chosen
        if reference is not None:
            loss = loss + row.divergence * (reference.exp() * (reference - log_probs)).sum()
        return loss


def load(folder: str) -> Any:
    """The model that `models.save_pretrained` wrote."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
