"""The most memory that a piece of code takes, in a process of its own."""

import subprocess
import sys

# Not getrusage: a child begins with the peak of the process that started it, and pytest's may be larger.
_PRINT_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


def peak_bytes(code: str, *arguments: str, cwd=None) -> int:
    """Run Python code in a fresh process and return the peak of its resident set, in bytes."""
    command = [sys.executable, "-c", code + _PRINT_PEAK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    return int(done.stdout.split()[-1]) * 1024
