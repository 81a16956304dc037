"""A training in a loop of one's own: its objects, and all that it depends on besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfpersist.errors import ArgumentError, RestoreError, value_text
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.internals import data_functions, iterators
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.training import data_facts, resume_state, same_data, seeds
from tfpersist.tf.training.seeds import Seeds


class CountedData:
    """An iterator that counts the batches that were taken from it.

    Args:
        iterator: the iterator of a dataset.
    """

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self.iterator)
        self.count += 1
        return batch


class Training(Resumable):
    """A training in a loop of your own, which goes on to the bit after a restore.

    Pass it to `ModelStore.save` and `ModelStore.restore` as any other target. The checkpoint is
    that of `tf.train.Checkpoint(**objects)`, with one more child, `resume`. It has the states of
    the random generators of Python, NumPy, TensorFlow and Keras, and of the data. A restore sets
    them all. What cannot be kept is in `report.resume`, and beside the checkpoint.

    Args:
        data: the iterator of a tf.data.Dataset, from which the loop takes its batches. Its state is
            kept if TensorFlow can write it. If not, a restore reads as many batches again as were
            taken from `training.data`.
        generators: further random generators: of Python, NumPy, TensorFlow or Keras.
        strict: whether a save raises an error if something cannot be kept.
        objects: what is saved: model=, optimizer=, step= and other trackables.

    Raises:
        ArgumentError: the data are no iterator, or an object has a name that is taken.

    Example:
        >>> import tensorflow as tf, tfpersist as tfp
        >>> def training():
        ...     data = iter(tf.data.Dataset.range(9).shuffle(9, seed=1))
        ...     return tfp.Training(total=tf.Variable(0, dtype=tf.int64), data=data)
        >>> store, first = tfp.ModelStore("memory://doc/training"), training()
        >>> for _ in range(4):
        ...     _ = first.objects["total"].assign_add(next(first.data))
        >>> checkpoint = store.save(first, step=4)
        >>> second = training()
        >>> print(store.restore(second).resume.covered[-1])
        covered  the order of the data: OwnedIterator
        >>> [int(n) for n in first.data] == [int(n) for n in second.data]
        True
    """

    def __init__(
        self,
        *,
        data: Any = None,
        generators: Sequence[Any] = (),
        strict: bool = False,
        **objects: Any,
    ) -> None:
        if data is not None and not iterators.is_iterator(data):
            raise ArgumentError(
                "data= takes the iterator of a dataset",
                expected="iter(dataset), of a tf.data.Dataset",
                found=value_text(data),
            )
        if resume_state.NAME in objects:
            raise ArgumentError(
                f"{resume_state.NAME!r} is the name of the state of the training itself",
                advice="Give the object another name.",
            )
        self.objects = objects
        self.data = None if data is None else CountedData(data)
        self.strict = strict
        owners = [one for one in objects.values() if hasattr(one, "weights")]
        self._seeds = Seeds(owners, seeds.as_generators(generators))
        self._began = seeds.host_state()
        self._why = None if data is None else data_functions.first_state_of(data)
        self._description = None if data is None else same_data.description_of(data)
        self._size = 0
        self._target: Any = None
        self._found = False

    @property
    def subject(self) -> Training:
        """The training."""
        return self

    def as_target(self) -> Any:
        """Return what is saved and restored.

        Returns:
            A `tf.train.Checkpoint` of the objects, with one more child for the state.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> float(tfp.Training(v=tf.Variable(2.0)).as_target().v)
            2.0
        """
        if self._target is None:
            import tensorflow as tf

            state = resume_state.resume_state(self._capture, self._restore)
            self._target = tf.train.Checkpoint(**self.objects, **{resume_state.NAME: state})
        return self._target

    def noted(self) -> Resume:
        """Return what a save made now carries.

        Returns:
            The facts, and the environment.

        Raises:
            SaveError: something is not covered, and `strict` was asked for.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> print(tfp.Training(v=tf.Variable(1.0)).noted().covered[0])
            covered  the generators of Python, NumPy and TensorFlow: global
        """
        found = Resume((*self._seeds.facts(), *self._facts()), resume_state.environment())
        return resume_state.checked(found, strict=self.strict)

    def resumed(self, saved: Resume | None) -> Resume:
        """Return what a restore has put back.

        Args:
            saved: what was noted at the save; None if nothing was.

        Returns:
            The same, with what is different now.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> len(tfp.Training(v=tf.Variable(1.0)).resumed(None).not_covered)
            1
        """
        found, self._found = self._found, False
        return resume_state.resumed(saved, was_found=found)

    def _facts(self) -> Sequence[Fact]:
        if self.data is None:
            return ()
        has_state = self._why is not None and self._why.state is not None
        if not has_state and not self.data.count:
            return data_facts.unknown(
                "TensorFlow cannot write the state of the iterator, and nobody has counted batches",
                "Take the batches from `training.data`.",
            )
        return data_facts.facts_of(self.data.iterator, self._why, self._size)

    def _capture(self) -> Mapping[str, Any]:
        return {
            "version": 1,
            "seeds": self._seeds.capture(),
            "data": None if self.data is None else self._capture_data(self.data),
        }

    def _capture_data(self, data: CountedData) -> Mapping[str, Any]:
        assert self._why is not None
        state = None if self._why.state is None else iterators.state_of(data.iterator).state
        self._size = len(state or b"")
        return {
            "state": state,
            "count": data.count,
            "began": self._began if state is None else None,
            "data": self._description,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        resume_state.require_version(state)
        self._seeds.check(state["seeds"])
        if self.data is not None and state["data"] is not None:
            self._restore_data(self.data, state["data"])
        self._seeds.restore(state["seeds"])
        self._found = True

    def _restore_data(self, data: CountedData, state: Mapping[str, Any]) -> None:
        import tensorflow as tf

        assert self._description is not None
        same_data.require_same(state["data"], self._description, replayed=state["state"] is None)
        if state["state"] is not None:
            try:
                iterators.set_state(data.iterator, state["state"])
            except tf.errors.OpError as error:
                raise RestoreError(
                    f"TensorFlow refuses the state of the data: {error.message}",
                    advice="Pass the iterator of the same dataset.",
                ) from error
            data.count = state["count"]
            return
        if data.count:
            raise RestoreError(
                "the batches are read again from the first one, and some were read already",
                expected="a new iterator",
                found=f"one that has given {data.count} batches",
                advice="Make a tfp.Training with a new iterator of the dataset, and restore that.",
            )
        seeds.set_host_state(state["began"])
        for _ in range(state["count"]):
            next(data)
