"""A Slurm of one node on this machine, made of Debian's packages; what was configured before is put back."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ["slurm-wlm", "slurm-client", "slurmctld", "slurmd", "munge"]
# Jobs lose SLURM_CONF on their way, so that only the system's own place will do.
CONFIGURATION = Path("/etc/slurm")

# Sixteen cores and three GPUs, whatever the machine has. No accounting. Ended jobs are kept to be looked at.
_SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MinJobAge=3600
KillWait=5
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs=16 RealMemory=32000 Gres=gpu:3
PartitionName=batch Nodes=localhost Default=YES MaxTime=INFINITE
PartitionName=gpus Nodes=localhost MaxTime=INFINITE
"""
_GRES_CONF = "".join(f"NodeName=localhost Name=gpu File=/dev/{device}\n" for device in ("null", "zero", "full"))


class NoSlurmError(RuntimeError):
    """Slurm cannot be started here; the message says why."""


@contextmanager
def loopback_slurm() -> Iterator[None]:
    """Start a node of Slurm, installing it where it is absent, and stop it at the end."""
    _install()
    if (CONFIGURATION / "slurm.conf").exists() and "UP" in _said("scontrol", "ping"):
        raise NoSlurmError("another Slurm runs on this machine")
    folder = Path(tempfile.mkdtemp(prefix="loopback-slurm-"))
    folder.chmod(0o755)  # munged runs as a user of its own
    (folder / "munge").mkdir()
    shutil.chown(folder / "munge", "munge", "munge")
    configuration = {
        "slurm.conf": _SLURM_CONF.format(folder=folder, host=socket.gethostname().split(".")[0]),
        "gres.conf": _GRES_CONF,
    }
    try:
        with _written(configuration), _running(folder):
            yield
    finally:
        shutil.rmtree(folder)


def jobs() -> list[dict[str, str]]:
    """Return what Slurm knows of every job that a run submitted, in order of submission."""
    said = subprocess.run(["scontrol", "--oneliner", "show", "jobs"], capture_output=True, text=True, check=True).stdout
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.splitlines() if line.startswith("JobId=")]
    found = [job for job in found if job["JobName"].startswith("lm-geometry")]
    return sorted(found, key=lambda job: int(job["JobId"]))


def _install() -> None:
    if os.geteuid() != 0:
        raise NoSlurmError("needs root, for munge and slurmd")
    if shutil.which("slurmctld") and shutil.which("slurmd") and shutil.which("munged"):
        return
    if not shutil.which("apt-get"):
        raise NoSlurmError("needs Slurm, or Debian's apt-get to install it")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        impatient = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"]
        try:
            done = subprocess.run(
                ["apt-get", *impatient, *command], env=quiet, capture_output=True, text=True, timeout=120, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoSlurmError(f"apt-get {command[0]} did not end in two minutes") from error
        if done.returncode != 0:
            raise NoSlurmError(f"apt-get {command[0]}: {done.stderr.strip()[-300:]}")


@contextmanager
def _written(configuration: dict[str, str]) -> Iterator[None]:
    """Write files of Slurm's configuration; at the end those that were there are back, and the others gone."""
    CONFIGURATION.mkdir(exist_ok=True)
    former = {}
    for name, text in configuration.items():
        path = CONFIGURATION / name
        former[path] = path.read_bytes() if path.exists() else None
        path.write_text(text)
    try:
        yield
    finally:
        for path, content in former.items():
            path.unlink() if content is None else path.write_bytes(content)


@contextmanager
def _running(folder: Path) -> Iterator[None]:
    """Run the daemons as children of this process."""
    munge = folder / "munge"
    files = [f"--{option}={munge / option}" for option in ("socket", "pid-file", "log-file", "seed-file")]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon("runuser", "-u", "munge", "--", "munged", "--foreground", "--force", *files))
        _wait("munged", (munge / "socket").exists)
        daemons.enter_context(_daemon("slurmctld", "-D", "-c"))
        daemons.enter_context(_daemon("slurmd", "-D", "-N", "localhost"))
        _wait("the node", lambda: "idle" in _said("sinfo", "--noheader", "--format=%t"))
        _run_a_job()
        yield
        _said("scancel", "--user=root")


def _run_a_job() -> None:
    """See whether this machine lets Slurm run anything."""
    command = ["sbatch", "--wait", "--output=/dev/null", "--wrap=true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoSlurmError("an empty job did not end in a minute") from error
    if done.returncode != 0:
        raise NoSlurmError(f"an empty job failed: {done.stderr.strip()[-300:]}")


@contextmanager
def _daemon(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(what: str, ready: Callable[[], bool]) -> None:
    for _ in range(60):
        if ready():
            return
        time.sleep(0.5)
    raise NoSlurmError(f"{what} is not ready after 30 s")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
