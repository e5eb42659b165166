"""The one error of everything that reads or writes checkpoints."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written. The message names the file, tensor or field and what is accepted."""
