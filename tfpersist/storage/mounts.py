"""Find network file systems, where another machine may truncate a file.

The system ends a process with SIGBUS if it uses a mapped page that its file no longer has.
"""

from __future__ import annotations

import functools
import os

_MOUNTS = "/proc/self/mountinfo"
_NETWORKS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "nfs"}
    | {"nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs"}
)


@functools.lru_cache(maxsize=256)
def is_network(device: int) -> bool:
    """Return whether the files of a device lie on another machine; False if that is not known.

    Args:
        device: `st_dev` of a file.

    Example:
        >>> is_network(os.stat("/").st_dev)
        False
    """
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as file:
            return kind_of(device, file.read()) in _NETWORKS
    except OSError:
        # Other systems than Linux have no such file.
        return False


def kind_of(device: int, mounts: str) -> str:
    """Return the kind of a mounted file system; "fuse" for all that a program implements.

    Args:
        device: `st_dev` of a file.
        mounts: the content of /proc/self/mountinfo; see proc(5).

    Example:
        >>> line = "36 35 0:41 / /mnt rw,noatime shared:1 - nfs4 server:/data rw"
        >>> kind_of(os.makedev(0, 41), line)
        'nfs4'
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [number] and after:
            return "fuse" if after.startswith("fuse.") else after.split()[0]
    return ""
