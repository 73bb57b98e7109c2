"""Label-free checks of a backbone: collapse, alignment of views, diagnosis."""
