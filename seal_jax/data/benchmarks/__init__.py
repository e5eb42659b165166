"""Public benchmarks as problems: a dataset's name, or files in the layouts of the public releases."""

from seal_jax.data.benchmarks import arc_questions, gsm8k, humaneval, math, mbpp
from seal_jax.data.benchmarks.sources import Source, read_splits

__all__ = ["Source", "arc_questions", "gsm8k", "humaneval", "math", "mbpp", "read_splits"]
