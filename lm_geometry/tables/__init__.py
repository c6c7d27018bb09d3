"""Every file the pipeline writes: one schema module per table, provenance, atomic writing. No arithmetic in here."""
