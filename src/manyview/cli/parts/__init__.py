"""What several verbs of the command line are made of: declared options, progress, and the drawing of views."""
