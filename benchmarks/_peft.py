"""The reference: one LoRA at a time with transformers and PEFT, batch 1, AdamW, linear decay, clipping at 1."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

from benchmarks._measure import Spent, best, timed
from benchmarks._work import Work

RATE = 1e-3


class Reference:
    """A PEFT fine-tune that is fed one sequence a step; the learning rate decays to 0 over `steps`.

    model: a transformers causal language model.
    """

    def __init__(self, model: Any, work: Work, steps: int) -> None:
        lora = LoraConfig(
            r=work.rank,
            lora_alpha=work.alpha,
            lora_dropout=0.0,
            target_modules=list(work.targets),
            task_type="CAUSAL_LM",
        )
        self.model, self.work = get_peft_model(model, lora), work
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=0.0)
        self.schedule = transformers.get_linear_schedule_with_warmup(self.optimizer, 0, steps)

    def copy(self, adapter: dict[str, Any]) -> None:
        """Start from the LoRA `{path: {"a" [L, in, r], "b" [L, r, out], ...}}`."""
        state = {}
        for path, entry in adapter.items():
            name = path.removeprefix("layers/").removesuffix("/kernel").replace("/", ".")
            for side, factor in (("lora_A", entry["a"]), ("lora_B", entry["b"])):
                for i, matrix in enumerate(np.asarray(factor)):
                    key = f"base_model.model.model.layers.{i}.{name}.{side}.weight"
                    state[key] = torch.tensor(np.ascontiguousarray(matrix.T))
        unused = set_peft_model_state_dict(self.model, state).unexpected_keys
        if unused:
            raise ValueError(f"PEFT knows no {unused[0]}")

    def step(self, tokens: np.ndarray, pad_to: int | None = None) -> float:
        """One optimizer step on one sequence; `pad_to` pads it with targets, as the reference does."""
        device = self.trained[0].device
        ids = torch.zeros((1, pad_to or len(tokens)), dtype=torch.long, device=device)
        ids[0, : len(tokens)] = torch.tensor(tokens, device=device)
        attention = (torch.arange(ids.shape[1], device=device) < len(tokens)).long()[None]
        with torch.autocast(device.type, torch.bfloat16, enabled=self.model.dtype == torch.bfloat16):
            loss = self.model(input_ids=ids, attention_mask=attention, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def time_steps(self, sequences: Sequence[np.ndarray], pad_to: int | None = None) -> tuple[Spent, list[float]]:
        """Seconds per step over `sequences`, one step each, and the losses."""
        losses: list[float] = []
        spent = timed(lambda: losses.extend(self.step(s, pad_to) for s in sequences))
        return Spent(spent.wall / len(sequences), spent.cpu / len(sequences)), losses

    def time_answers(self, vocab: int) -> float:
        """Seconds for all questions of one edit as one greedy batch."""
        work, device = self.work, self.trained[0].device
        ids = torch.randint(1, vocab, (work.questions, work.question_tokens), device=device)
        start = time.perf_counter()
        self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=work.answer_tokens,
            max_new_tokens=work.answer_tokens,
            pad_token_id=0,
        ).cpu()
        return time.perf_counter() - start


def choose_threads(reference: Reference, sequences: Sequence[np.ndarray], cores: int) -> int:
    """Set torch to as many threads as serve it best, one or all cores; returns how many."""

    def rate(threads: int) -> float:
        torch.set_num_threads(threads)
        return min(reference.time_steps([s])[0].wall for s in sequences)

    rates = {threads: rate(threads) for threads in {1, cores}}
    threads = min(rates, key=lambda n: rates[n])
    torch.set_num_threads(threads)
    return threads


def matmul_peak(size: int = 2048, rounds: int = 8) -> float:
    """The best rate of torch's float32 matrix product, in floating-point operations per second."""
    x = torch.ones((size, size))
    return 2 * size**3 / best([timed(lambda: x @ x) for _ in range(rounds)]).wall
