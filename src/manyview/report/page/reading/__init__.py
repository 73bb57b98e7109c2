"""What the page shows, read from the files of runs and evaluations into plain data."""
