"""The geometry of a cloud of vectors: arrays in, numbers out. No file format and no model in here."""
