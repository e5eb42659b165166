"""Worlds: small synthetic domains with checkable answers, so that every method runs for real on two CPU cores."""
