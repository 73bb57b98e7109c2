"""Where images lie: a folder of files, or shards that hold many of them."""
