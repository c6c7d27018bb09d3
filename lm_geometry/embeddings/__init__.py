"""Token-embedding tables: their precision, random tables, and the variants that are scored."""
