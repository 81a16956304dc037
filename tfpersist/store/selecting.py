"""What of a model a store saves and restores, and under which keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from tfpersist.errors import ArgumentError
from tfpersist.matching.selection import Selection

_Store = TypeVar("_Store", bound="Selecting")


@attrs.frozen(eq=False, slots=False)
class Selecting:
    """The part of a store that is told which variables it is about.

    Args:
        selection: what the steps have chosen so far.
    """

    selection: Selection = attrs.field(factory=Selection, kw_only=True, repr=False)

    def only(self: _Store, choice: object) -> _Store:
        """Take only some variables.

        Args:
            choice: a list of variables, names and patterns such as "conv1/*"; or a dict
                {key in the checkpoint: variable or name}.

        Returns:
            A store that saves and restores only these.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/only")
            >>> model = {"conv/w": np.zeros(2), "conv/b": np.zeros(2), "head": np.zeros(3)}
            >>> sorted(store.only(["conv/*"]).save(model))
            ['conv/b', 'conv/w']
        """
        taken: Sequence[object] | Mapping[str, object]
        if isinstance(choice, Mapping):
            taken = dict(choice)
        elif isinstance(choice, (list, tuple, set, frozenset, Iterator)):
            taken = tuple(choice)
        else:
            taken = (choice,)
        return attrs.evolve(self, selection=attrs.evolve(self.selection, only=taken))

    def rename(self: _Store, names: Mapping[Any, object]) -> _Store:
        """Let some variables go by other keys in the checkpoint; every other keeps its own.

        Args:
            names: {key in the checkpoint: variable or name}. Where both end in "/", or one of them
                is empty, they stand for everything under them: {"": "net/"}. For a restore also
                patterns on whole keys: {re.compile(r"layer_(\\d+)/w"): r"blocks/\\1/kernel"}.

        Returns:
            A store that saves and restores under these keys.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/rename")
            >>> sorted(store.rename({"a": "v1"}).save({"v1": np.zeros(2), "v2": np.zeros(2)}))
            ['a', 'v2']
        """
        return attrs.evolve(self, selection=self.selection.renamed(names))

    def averages(self: _Store, averages: object) -> _Store:
        """Restore moving averages into the variables themselves, wherever the checkpoint has them.

        Args:
            averages: a tf.train.ExponentialMovingAverage, a Keras optimizer with `use_ema`, or the
                last part of the names of the shadow variables, such as
                "ExponentialMovingAverage".

        Returns:
            A store that restores averages.

        Raises:
            ArgumentError: it is None.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/averages")
            >>> _ = store.save({"v": np.float32(2), "v/avg": np.float32(1)})
            >>> store.averages("avg").restore({"v": np.zeros((), np.float32)}).averaged
            ('v',)
        """
        if averages is None:
            raise ArgumentError(
                "averages() is given None",
                expected="what keeps the averages, or the last part of their names",
            )
        return attrs.evolve(self, selection=attrs.evolve(self.selection, averages=averages))
