"""The one error of everything that reads or writes models and adapters on disk."""


class CheckpointError(ValueError):
    """A model or adapter cannot be read or written. It names the file, tensor or field and what is accepted."""
