"""What chats are that templates of tokenizers put into text."""

DATE = "26 Jul 2024"
"""The day that templates which state the date are given, Llama 3.2's own default: a prompt, and what was trained on it,
is the same on any day."""
