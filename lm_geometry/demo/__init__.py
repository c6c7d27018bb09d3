"""The embedded default's own data: prose of the standard library, and what is made and trained from it, offline."""
