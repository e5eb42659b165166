"""What `seal-jax rain` looks at before weights are read: prompts, judge, memory; and what it says of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from seal_jax.cli.rain_prompts import Prompts
    from seal_jax.cli.startup import Opened
    from seal_jax.rain import Memory, Settings
    from seal_jax.rain.host import Job

ADVICE = "a lower --slots, --nodes or --max-new-tokens, or --dtype bfloat16"


class Plan(NamedTuple):
    """What is searched with. template, shots, chat: of the judge; trees: whether they are kept."""

    settings: Settings
    template: str
    shots: int | None
    chat: bool
    dtype: str
    slots: int
    group: int | None
    trees: bool


def announce_rain(opened: Opened, prompts: Prompts, embed: Any, plan: Plan) -> None:
    """Print sizes of the model, the judge's prompt and the search on standard error.

    Raises ValueError for prompts, a judge or texts that do not fit the model's context, and for a template that this
    tokenizer cannot answer; DoesNotFitError, naming the number, for what a device cannot hold.
    """
    from seal_jax.cli.startup import device_text
    from seal_jax.models import sizes
    from seal_jax.rain import host, judges
    from seal_jax.runtime import resources

    config, size = opened.checkpoint.config, resources.gib
    tokens = [each.tolist() for each in prompts.tokens]
    job = host.prepare(config, tokens, opened.tokenizer, plan.settings, None, prompts.judged_from)
    shown = judges.check(job.longest, config, opened.tokenizer, plan.template, shots=plan.shots, chat=plan.chat)
    weights = sizes.weight_bytes(config, plan.dtype, opened.axes)
    memory = _memory(plan, opened, job, embed.width(config))
    need = resources.Need("the search", weights + memory.kept, weights + memory.kept + memory.work, ADVICE)
    available = resources.device_memory()
    warnings = resources.check_memory([need], available)
    lines = [
        f"model: {config.model_type}, {sizes.count(sizes.abstract_params(config)):,} parameters, {size(weights)} of "
        f"{plan.dtype} on each device",
        f"judge: {plan.template}, {shown:,} tokens before every text, read once",
        f"search: {len(tokens)} prompts of up to {max(map(len, tokens)):,} tokens, "
        f"{min(plan.slots, len(tokens))} at once, {size(memory.kept)}",
        f"mesh: {device_text(opened.axes)}",
        f"memory: about {size(need.about)} on each device at the most"
        + (f", of {size(available)}" if available is not None else ""),
        *(f"warning: {warning}" for warning in warnings),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _memory(plan: Plan, opened: Opened, job: Job, width: int) -> Memory:
    from seal_jax import rain
    from seal_jax.rain.groups import usual_size

    slots, longest = min(plan.slots, len(job.prompts)), max(map(len, job.prompts))
    group = min(plan.group or usual_size(slots), slots)
    how: dict[str, Any] = {"group": group, "width": width, "trees": plan.trees}
    return rain.memory(opened.checkpoint.config, plan.settings, slots, longest, plan.dtype, **how)
