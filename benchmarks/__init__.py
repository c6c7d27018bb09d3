"""Speed and memory, measured. Each module yields figures; ``python -m benchmarks`` prints them all."""
