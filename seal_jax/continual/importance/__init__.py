"""How much each parameter matters to what was learnt: Fisher estimates, output sensitivity; for `consolidate`."""
