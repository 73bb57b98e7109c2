"""The options of every verb, each declared once.

From the declaration follow the signature of the Python function, the flags of the command with their help, the
defaults, and the record in metrics.json. Nothing here imports what carries a verb out, so that the command can show
its help at once.
"""
