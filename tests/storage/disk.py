"""A disk that is simulated: it remembers which changes were synced, and can lose its power."""

import contextlib

import attrs


class PowerLoss(BaseException):
    """The machine stops here."""


@attrs.define
class File:
    """An inode: what was written, and how much of that is safe."""

    data: bytearray = attrs.field(factory=bytearray)
    safe: bytes = b""
    durable: bool = False
    open: bool = True

    def reserve(self, size):
        pass

    def write(self, data):
        self.data.extend(data)

    def hasten(self, least):
        pass

    def seal(self):
        pass

    def finish(self, *, durable):
        if durable:
            self.safe, self.durable = bytes(self.data), True

    def close(self):
        self.open = False


@attrs.frozen
class Held:
    """A file that is held, and the same as a staged link to it."""

    file: File
    disk: object
    effective: bool = True

    @property
    def identity(self):
        return id(self.file)

    def read(self):
        return memoryview(bytes(self.file.data))

    def hasten(self, least):
        pass

    def seal(self):
        pass

    def finish(self, *, durable):
        self.disk.step()
        self.file.finish(durable=durable)

    def release(self):
        pass

    close = release


@attrs.define
class Disk:
    """A directory that remembers which of its changes were synced, and fails at a given step."""

    fail_at: int = -1
    entries: dict = attrs.field(factory=dict)
    synced: dict = attrs.field(factory=dict)
    unsynced: list = attrs.field(factory=list)
    steps: int = 0
    location: str = "disk"
    maps: bool = True
    links: bool = True
    renames_atomically: bool = True

    def step(self, *changes):
        if self.steps == self.fail_at:
            raise PowerLoss
        self.steps += 1
        if changes:
            self.unsynced.append(changes)
            apply(self.entries, changes)

    def file(self, name):
        if name not in self.entries:
            raise FileNotFoundError(2, "no such file")
        return self.entries[name]

    def exists(self):
        return True

    def make(self, *, durable):
        pass

    def names(self, *, folders=False):
        return set() if folders else set(self.entries)

    def present(self, names):
        return self.entries.keys() & set(names)

    def read(self, name):
        return memoryview(bytes(self.file(name).data))

    def forget(self, data):
        pass

    def size(self, name):
        return len(self.file(name).data)

    def modified(self, name):
        return 0.0 if self.file(name) else 1.0

    def stamps(self, names):
        found = self.present(names)
        return {name: (0, self.size(name), id(self.file(name))) for name in found}

    def mark(self, name):
        return None

    def version(self):
        return None

    def seal(self):
        return None

    def stage(self, name):
        file = File()
        self.step((name, file))
        return file

    def hold(self, name, *, alone):
        return Held(self.file(name), self)

    def identity(self, name):
        return id(self.file(name))

    def link(self, held, name):
        self.step((name, held.file))
        return held

    def sweep(self, name):
        if not self.file(name).open:
            self.unlink(name)

    def check(self, name):
        pass

    def rename(self, old, new):
        file = self.file(old)
        self.step((new, file), (old, None))

    def unlink(self, name):
        self.file(name)
        self.step((name, None))

    def sync(self):
        self.step()
        self.synced, self.unsynced = dict(self.entries), []

    def lock(self):
        return contextlib.nullcontext()

    def after_power_loss(self, chance):
        """Return the files on the disk after the machine starts again."""
        entries = dict(self.synced)
        for changes in self.unsynced:
            if chance.random() < 0.5:
                apply(entries, changes)
        restarted = {}
        for name, file in entries.items():
            data = bytes(file.data)
            torn = (data, data[: len(data) // 2], b"", bytes(len(data)))
            kept = file.safe if file.durable else chance.choice(torn)
            restarted[name] = File(bytearray(kept), kept, durable=True, open=False)
        return Disk(entries=restarted, synced=dict(restarted))


def apply(entries, changes):
    for name, file in changes:
        if file is None:
            entries.pop(name, None)
        else:
            entries[name] = file
