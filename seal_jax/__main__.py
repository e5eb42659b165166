"""`python -m seal_jax COMMAND ...` is `seal-jax COMMAND ...`."""

from seal_jax.cli.main import console

if __name__ == "__main__":
    console()
