"""Speed claims, one file each: `run() -> dict` measures, `main(argv)` prints. Files that begin with "_" are shared."""
