import os

import pytest

from tfpersist.storage import mounts
from tfpersist.storage.mounts import is_network, kind_of

MOUNTS = """\
22 27 8:1 / / rw,relatime - ext4 /dev/sda1 rw
36 35 0:41 / /mnt/a\\040b rw,noatime shared:1 master:2 - nfs4 server:/data rw
37 35 0:42 / /mnt/s rw - fuse.sshfs me@server: rw
38 35 0:43 /sub - odd / rw - cifs //server/share rw
not a mount
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [((8, 1), "ext4"), ((0, 41), "nfs4"), ((0, 42), "fuse"), ((9, 9), "")],
)
def test_the_kind_of_a_file_system(device, kind):
    assert kind_of(os.makedev(*device), MOUNTS) == kind


def test_what_lies_on_another_machine(tmp_path, monkeypatch):
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_MOUNTS", str(file))
    is_network.cache_clear()
    assert not is_network(os.makedev(0, 41))
    is_network.cache_clear()
    file.write_text(MOUNTS)
    assert [is_network(os.makedev(*each)) for each in ((8, 1), (0, 41), (0, 42), (9, 9))] == [
        False,
        True,
        True,
        False,
    ]
    is_network.cache_clear()
