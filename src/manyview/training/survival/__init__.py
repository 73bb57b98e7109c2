"""What keeps a run from being lost: saving where a step fails, out of memory, a lost process, a second leg."""
