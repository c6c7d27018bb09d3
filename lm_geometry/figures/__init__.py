"""Figures: a table in; a figure, the table it was drawn from and a caption out. Nothing here measures anything."""
