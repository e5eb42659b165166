"""What `seal-jax rain` looks at before weights are read: prompts, judge, memory; and what it says of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seal_jax.cli.rain import Command
    from seal_jax.cli.rain_prompts import Prompts
    from seal_jax.cli.startup import Opened
    from seal_jax.rain import Memory
    from seal_jax.rain.host import Job


def announce_rain(command: Command, opened: Opened, prompts: Prompts, embed: Any) -> None:
    """Print sizes of the model, the judge's prompt and the search on standard error.

    Raises ValueError for prompts, a judge or texts that do not fit the model's context, and for a template that this
    tokenizer cannot answer; DoesNotFitError, naming the number, for what a device cannot hold.
    """
    from seal_jax.cli.startup import device_text
    from seal_jax.models import sizes
    from seal_jax.rain import host, judges
    from seal_jax.runtime import resources

    config, size = opened.checkpoint.config, resources.gib
    settings = command.searching.settings()
    job = host.prepare(
        config, [tokens.tolist() for tokens in prompts.tokens], opened.tokenizer, settings, None, prompts.judged_from
    )
    how: dict[str, Any] = {"shots": command.judging.judge_shots, "chat": command.judging.judge_chat}
    shown = judges.check(job.longest, config, opened.tokenizer, command.template, **how)
    weights = sizes.weight_bytes(config, command.dtype, opened.axes)
    memory = _memory(command, opened, job, embed.width(config))
    need = resources.Need("the search", weights + memory.kept, weights + memory.kept + memory.work, ADVICE)
    available = resources.device_memory()
    warnings = resources.check_memory([need], available)
    lines = [
        f"model: {config.model_type}, {sizes.count(sizes.abstract_params(config)):,} parameters, {size(weights)} of "
        f"{command.dtype} on each device",
        f"judge: {command.template}, {shown:,} tokens before every text, read once",
        f"search: {len(prompts.tokens)} prompts of up to {max(map(len, prompts.tokens)):,} tokens, "
        f"{min(command.slots, len(prompts.tokens))} at once, {size(memory.kept)}",
        f"mesh: {device_text(opened.axes)}",
        f"memory: about {size(need.about)} on each device at the most"
        + (f", of {size(available)}" if available is not None else ""),
        *(f"warning: {warning}" for warning in warnings),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


ADVICE = "a lower --slots, --nodes or --max-new-tokens, or --dtype bfloat16"


def _memory(command: Command, opened: Opened, job: Job, width: int) -> Memory:
    from seal_jax import rain
    from seal_jax.rain.groups import usual_size

    slots = min(command.slots, len(job.prompts))
    group = command.group or usual_size(slots)
    settings, longest = command.searching.settings(), max(map(len, job.prompts))
    dtype = command.dtype
    return rain.memory(opened.checkpoint.config, settings, slots, longest, dtype, group=min(group, slots), width=width)
