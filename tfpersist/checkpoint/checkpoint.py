"""A saved checkpoint as a mapping from names to arrays, read without TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tfpersist.checkpoint.contents import Bundle, Opened, open_contents
from tfpersist.checkpoint.diff import Difference, compare
from tfpersist.checkpoint.facts import read_meta, read_sidecar
from tfpersist.checkpoint.files import readable
from tfpersist.checkpoint.hdf5 import Hdf5
from tfpersist.checkpoint.locate import Located, locate
from tfpersist.checkpoint.pins import Pin, held, pin
from tfpersist.checkpoint.sidecar import Increment, Sidecar
from tfpersist.checkpoint.verify import Verification, verify
from tfpersist.errors import (
    ArgumentError,
    NameNotFoundError,
    TFPersistError,
    counted,
    did_you_mean,
    value_text,
)
from tfpersist.formats import schema
from tfpersist.formats.read_only import ReadOnly
from tfpersist.formats.tensors import Payload, TensorSpec
from tfpersist.matching.keras_files.keras_file import KerasFile
from tfpersist.matching.plans.resume import Resume
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.storage import Storage, placed


class Checkpoint(Mapping[str, "np.ndarray[Any, Any]"]):
    """One checkpoint, as a mapping from names of tensors to arrays.

    The constructor reads names of files only; the index and the tensors are read when they are
    first used. On a local disk the arrays are read-only views on the mapped files. They stay valid
    and keep their elements when the checkpoint is replaced or removed. The first read of a tensor
    compares it with its checksum.

    Args:
        path: a path or URL that names a checkpoint: a prefix, a directory (its newest checkpoint;
            of a SavedModel, its variables), a file of the checkpoint, a `checkpoint` state file, a
            V1 file, shard or pattern, or an HDF5 file of Keras (`.h5`, `.keras`). Or a `Located`.
        storage: the directory that `path` is a name in; None to take it from `path`.
        storage_options: what the file system of a URL is opened with, as for `ModelStore`.
        mapped: whether files are mapped, as for `ModelStore`. What is not mapped is read when it is
            used: an array keeps its elements, but a checkpoint that is replaced may not be read on.

    Raises:
        ArgumentError: `path` is not a path.
        CheckpointNotFoundError: no checkpoint has this name; the message lists similar names.
        CorruptionError: a data file is missing.
        StorageError: the directory cannot be read.

    Example:
        >>> import numpy as np
        >>> from tfpersist.checkpoint.writer import write_checkpoint
        >>> from tfpersist.formats.bundle_writer import Item
        >>> from tfpersist.formats.tensors import payload_of
        >>> from tfpersist.storage import open_storage
        >>> items = [Item("v1", payload_of(np.float32([1, 2])))]
        >>> _ = write_checkpoint(open_storage("memory://doc/read"), "model.ckpt-7", items)
        >>> checkpoint = Checkpoint("memory://doc/read")
        >>> checkpoint
        <Checkpoint 'memory://doc/read/model.ckpt-7': 1 tensor, 8 bytes>
        >>> checkpoint["v1"], checkpoint.step
        (array([1., 2.], dtype=float32), 7)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Located,
        *,
        storage: Storage | None = None,
        storage_options: object = None,
        mapped: bool | None = None,
    ) -> None:
        if not isinstance(path, Located):
            place, options = placed(path, storage_options, mapped=mapped)
            path = locate(place, storage, options)
        self._place = path

    @property
    def _located(self) -> Located:
        return self._place

    @cached_property
    def _contents(self) -> Opened:
        with held(self._located.storage, self._located.files) as hold:
            return open_contents(self._located.storage, self._located.files, hold)

    @cached_property
    def _sidecar(self) -> Sidecar | None:
        contents = vars(self).get("_contents")
        if isinstance(contents, Bundle) and contents.facts is not None:
            return contents.facts
        return read_sidecar(self._located.storage, self._located.files)

    @property
    def storage(self) -> Storage:
        """The directory that the checkpoint lies in."""
        return self._located.storage

    @property
    def name(self) -> str:
        """The last part of its prefix, such as "model.ckpt-1000"."""
        return self._located.files.prefix

    @property
    def prefix(self) -> str:
        """Directory and name: a path that `Saver.restore` and `load_checkpoint` accept."""
        return self._located.path

    @property
    def step(self) -> int | None:
        """The training step: the number at the end of the name, else the one in the sidecar."""
        step = self._located.files.step
        return self._sidecar.step if step is None and self._sidecar else step

    @property
    def created(self) -> float | None:
        """When it was saved, in seconds since 1970; None if the sidecar is missing."""
        return None if self._sidecar is None else self._sidecar.created

    @property
    def increment(self) -> Increment | None:
        """The number of bytes that an incremental save wrote and shared; None for a full save."""
        return None if self._sidecar is None else self._sidecar.increment

    @property
    def resume(self) -> Resume | None:
        """The state of a training beside variables; None if a model alone was saved."""
        return None if self._sidecar is None else self._sidecar.resume

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics that were passed to `save`, by name; empty if there were none."""
        return ReadOnly({}) if self._sidecar is None else self._sidecar.metrics

    @property
    def metadata(self) -> Any:
        """A copy of the metadata that were passed to `save`; None if there were none."""
        text = "" if self._sidecar is None else self._sidecar.metadata
        return json.loads(text) if text else None

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Data type and shape of every tensor, sorted by name."""
        return self._contents.specs

    @cached_property
    def object_graph(self) -> schema.Message | None:
        """The TrackableObjectGraph of an object-based checkpoint; None for a name-based one.

        For an HDF5 file of Keras it is made from what the file says about its layers.
        """
        if self.keras_file is not None:
            return self.keras_file.message
        spec = self.specs.get(OBJECT_GRAPH_KEY)
        if spec is None or spec.dtype != "string" or spec.shape != ():
            return None
        return schema.parse(
            schema.TrackableObjectGraph,
            self[OBJECT_GRAPH_KEY].item(),
            file=f"{self.prefix}, tensor {OBJECT_GRAPH_KEY}",
        )

    @property
    def keras_file(self) -> KerasFile | None:
        """The description of the tensors in an HDF5 file of Keras; None for other checkpoints."""
        return self._contents.described if isinstance(self._contents, Hdf5) else None

    @cached_property
    def meta(self) -> schema.Message | None:
        """The MetaGraphDef of its `.meta` file; None if it has no such file."""
        from tfpersist.formats import graphdef

        name = self._located.files.meta
        data = None if name is None else read_meta(self.storage, self._located.files)
        if data is None:
            return None
        return graphdef.parse_meta(data, f"{self.storage.location}/{name}")

    @property
    def layers(self) -> Mapping[int, str]:
        """The names of layers that are in no full name, by the number of the object."""
        if self.keras_file is not None:
            return ReadOnly(self.keras_file.layers)
        return ReadOnly({}) if self._sidecar is None else self._sidecar.layers

    @property
    def order(self) -> tuple[str, ...]:
        """The variables in the order in which the graph of its `.meta` file made them.

        Empty if there is no such file, or if the graph does not list its variables.
        """
        if self.meta is None:
            return ()
        names: dict[str, None] = {}
        collections = self.meta.collection_def
        listed = collections["variables"].bytes_list.value if "variables" in collections else ()
        for encoded in listed:
            variable = schema.parse(schema.VariableDef, encoded, file=f"{self.prefix}.meta")
            part = variable.save_slice_info_def.full_name
            names[part or variable.variable_name.removesuffix(":0")] = None
        return tuple(names)

    def payload(self, key: str) -> Payload:
        """Return a tensor that is read only when its `load()` is called.

        Args:
            key: the name of the tensor.

        Returns:
            The payload. `load()` compares the elements with their checksum.

        Raises:
            NameNotFoundError: the checkpoint has no such tensor.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/payload")
            >>> print(store.save({"v1": np.float32([1, 2])}).payload("v1").spec)
            float32[2]
        """
        spec, contents = self._spec(key), self._contents
        return Payload(spec, lambda: contents.read(key), lambda: contents.release(key))

    def load(self, keys: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        """Read many tensors, which takes less time than one after the other.

        Args:
            keys: the names of the tensors.

        Returns:
            The arrays in the order of the names. Every array is compared with its checksum.

        Raises:
            ArgumentError: `keys` is not a list of names.
            NameNotFoundError: the checkpoint has no such tensor.
            CorruptionError: a tensor is damaged.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/load")
            >>> list(store.save({"v1": np.float32([1, 2])}).load(["v1"]))
            [array([1., 2.], dtype=float32)]
        """
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            raise ArgumentError(
                "the keys are not a list of names",
                where=self.prefix,
                expected="a list of names",
                found=value_text(keys),
                advice=f"Pass [{keys!r}], or read checkpoint[{keys!r}]."
                if isinstance(keys, str)
                else None,
            )
        names = list(keys)
        for name in names:
            self._spec(name)
        return self._contents.read_many(names)

    def pin(self) -> Pin:
        """Keep the checkpoint from being pruned by any process until the pin is released.

        The pin also ends when this process ends. Pin a checkpoint that another program reads, such
        as TensorFlow or `cp`. tfpersist's own restores need no pin, and neither do arrays that were
        read before.

        Returns:
            The pin, a context manager.

        Raises:
            CheckpointNotFoundError: the checkpoint was removed.
            UnsupportedError: the storage has no locks that end with their process.
            StorageError: another process is removing or writing the checkpoint.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/pin")
            >>> with store.save({"v1": np.float32([1, 2])}, step=7).pin() as pin:
            ...     pin.prefix
            'memory://doc/pin/model.ckpt-7'
        """
        return pin(self._located)

    def verify(self) -> Verification:
        """Read every byte again and compare it with its checksum.

        Returns:
            The result; `.ok` is True if there are no flaws.

        Raises:
            CheckpointNotFoundError: the checkpoint was removed meanwhile.
            StorageError: a file cannot be read at all.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/verify")
            >>> store.save({"v1": np.float32([1, 2])}, step=7).verify().ok
            True
        """
        return verify(self._located)

    def diff(
        self, other: Mapping[str, np.ndarray[Any, Any]] | str | os.PathLike[str]
    ) -> Difference:
        """Compare this checkpoint with another one.

        Args:
            other: the other checkpoint, a path that names it, or any mapping from names to arrays.

        Returns:
            The tensors that were added, removed, changed, or have another data type or shape.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/diff")
            >>> one = store.save({"v1": np.float32([1, 2])}, step=1)
            >>> two = store.save({"v1": np.float32([1, 4])}, step=2)
            >>> one.diff(two).changed["v1"]
            2.0
        """
        return compare(self, other if isinstance(other, Mapping) else Checkpoint(other))

    def _spec(self, key: object) -> TensorSpec:
        spec = self.specs.get(key) if isinstance(key, str) else None
        if spec is None:
            raise NameNotFoundError(
                f"the checkpoint has no tensor {key!r}",
                where=self.prefix,
                advice=did_you_mean(str(key), self.specs),
            )
        return spec

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        return self.payload(key).load()

    def __contains__(self, key: object) -> bool:
        return key in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    # Mapping would compare values with ==, which gives an array of booleans: see diff().
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        # The copy reads its files itself: mapped files and arrays cannot be pickled.
        return Checkpoint, (self._located,)

    def __repr__(self) -> str:
        try:
            specs = self.specs
        except TFPersistError as error:
            return f"<Checkpoint {self.prefix!r}: {error}>"
        count = counted(len(specs), "tensor")
        size = readable(sum(spec.nbytes or 0 for spec in specs.values()))
        return f"<Checkpoint {self.prefix!r}: {count}, {size}>"


def opened(located: Located, contents: Opened) -> Checkpoint:
    """Return a checkpoint whose contents are open already."""
    checkpoint = Checkpoint(located)
    vars(checkpoint)["_contents"] = contents
    return checkpoint
