"""Prompts on which a model's answers are steered: a dataset's name, or files in the layouts of the public releases."""

from seal_jax.data.alignment import advbench, imdb, red_team, truthful_qa

__all__ = ["advbench", "imdb", "red_team", "truthful_qa"]
