"""seal_jax: language models that adapt themselves, in JAX."""

__version__ = "0.1.0"
