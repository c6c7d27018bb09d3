"""What the studies claim, as tests: how each is tested, and when it holds, is refuted, or stays undecided."""
