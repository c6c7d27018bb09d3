"""Intervals, paired tests and resampling of independent units; arrays in, numbers out."""
