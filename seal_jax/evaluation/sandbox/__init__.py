"""The walls around model-written code: what the child process does to itself, and how its parent watches it.

The modules import the standard library and one another only, because the child imports them without the library.
"""
