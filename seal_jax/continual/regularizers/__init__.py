"""Regularizers: pulls to earlier parameters, as optax transforms; one file a method, `anchor` what they share."""
