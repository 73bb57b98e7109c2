"""The options of every verb, each declared once.

The Python signature, the flags of the command with their help, the defaults and the record in metrics.json follow from
the declaration. Nothing here imports an implementation, so that the command shows its help at once.
"""
