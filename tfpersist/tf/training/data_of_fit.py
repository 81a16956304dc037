"""Capture and restore where `fit` is in its data.

Keras 3 makes an iterator for each epoch, and one more that nobody uses at the end of each epoch of
known length; with `steps_per_epoch`, and in tf_keras, one iterator may serve several epochs. Each
new iterator draws seeds for its shuffles from its dataset.

Where TensorFlow can write the state of an iterator, that is kept. Where a shuffle has given all it
has, the state says no more how the next epoch is shuffled; that before the epoch's first batch, the
*anchor*, does. A later one might not, since other threads run ahead. So the anchor is restored into
an iterator of its own after the state. Where there is no state, or where a step draws its seeds
only when another one asks for its first element, so that the anchor does not have them, the batches
are read again from the beginning, which draws the same from the same seeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfpersist.errors import RestoreError
from tfpersist.matching.plans.resume import Fact
from tfpersist.tf.internals import data_functions, fitting, iterators
from tfpersist.tf.internals.iterators import IteratorState
from tfpersist.tf.training import data_facts, same_data, seeds


@attrs.define(eq=False)
class DataOfFit:
    """The iterator of a `fit`.

    Args:
        model: the model.
        steps: the number of batches of an epoch; None if it is not known.
    """

    model: Any
    steps: int | None
    # What the training function was called with last; and what it is called with instead.
    iterator: Any = attrs.field(init=False, default=None)
    substitute: Any = attrs.field(init=False, default=None)
    # Whether this epoch goes on with the iterator of the one before.
    is_same: bool = attrs.field(init=False, default=False)
    anchor: bytes | None = attrs.field(init=False, default=None)
    why: IteratorState | None = attrs.field(init=False, default=None)
    began: Mapping[str, Any] = attrs.field(init=False, factory=seeds.host_state)
    _is_first: bool = attrs.field(init=False, default=True)
    _description: dict[str, Any] | None = attrs.field(init=False, default=None)
    _size: int = attrs.field(init=False, default=0)

    @property
    def is_known(self) -> bool:
        """Whether the iterator of this epoch is known."""
        return not self._is_first

    @property
    def spec(self) -> Any:
        """The specs of a batch; None if they are not known."""
        return getattr(self.iterator, "element_spec", None)

    def epoch_begins(self) -> None:
        """Note that an epoch begins; the other callbacks have done what they do then."""
        self.began, self.anchor, self.substitute = seeds.host_state(), None, None
        self._is_first = True

    def before_batch(self, iterator: Any) -> Any:
        """Return the iterator to train with, of the one that `fit` passes."""
        used = self.substitute or iterator
        mine = used if iterators.is_of_fit(used) else None
        is_first, self._is_first = self._is_first, False
        if is_first:
            self.is_same = mine is not None and self.iterator is mine
        self.iterator = mine
        if self.why is None and iterators.is_iterator(mine):
            # At its end, a dataset with stateful ops would say that it has none.
            self.why = self._first_state(mine)
        if is_first and not self.is_same and self._has_state:
            self.anchor = iterators.state_of(mine).state
        return used

    def _first_state(self, iterator: Any) -> IteratorState:
        found = data_functions.first_state_of(iterator)
        late = data_functions.draws_late(iterator)
        if not late or self._lasts(iterator, {"is_same": False}):
            return found
        return attrs.evolve(found, state=None, why=found.why or f"{late} draws its seeds late")

    def skip(self, iterator: Any, batches: int) -> None:
        """Read batches that the model was trained on before."""
        if iterators.is_of_fit(iterator):
            for _ in range(batches):
                next(iterator)

    def capture(self) -> Mapping[str, Any]:
        """Return where the training is in its data."""
        state = iterators.state_of(self.iterator).state if self._has_state else None
        python = self.why is not None and self.why.runs_python
        self._size = len(state or b"")
        return {
            "state": state,
            "anchor": self.anchor,
            "is_same": self.is_same,
            "began": self.began if python else None,
            "why": None if self.why is None else self.why.why,
            "python": python,
            "data": self._described(),
        }

    def check(self, state: Mapping[str, Any], batch: int) -> None:
        """Compare what was saved with the data now.

        Args:
            state: what `capture` has returned.
            batch: the number of batches of the epoch that are complete.

        Raises:
            RestoreError: they differ.
        """
        saved = state["data"]
        now = {"batches of an epoch": self.steps} if self.steps is not None else {}
        if self.iterator is not None:
            now = self._described()
        same_data.require_same(saved, now, replayed=state["state"] is None)
        at_once = fitting.steps_at_once(self.model)
        if batch % at_once:
            raise RestoreError(
                "the training was saved between batches that are now trained on together",
                expected=f"steps_per_execution by which {batch} can be divided",
                found=at_once,
            )

    def begin_replay(self, state: Mapping[str, Any]) -> None:
        """Set the generators as they were when the epoch began, for Python code that draws."""
        if state["python"]:
            seeds.set_host_state(state["began"])
            self.began = state["began"]

    def go_to(self, iterator: Any, state: Mapping[str, Any], epoch: int, batch: int) -> None:
        """Put the iterator where it was.

        Args:
            iterator: what `fit` passes to the training function.
            state: what `capture` has returned.
            epoch: the number of complete epochs.
            batch: the number of complete batches of the next epoch.

        Raises:
            RestoreError: the data are others.
        """
        if not iterators.is_of_fit(iterator):
            return
        self.iterator = iterator
        self.check(state, batch)
        host = seeds.host_state()
        lasts = self._lasts(iterator, state)
        made = 2 if self.steps is not None and fitting.makes_spare_iterators(self.model) else 1
        if state["state"] is None:
            self._replay(iterator, epoch, batch, made, lasts=lasts)
        else:
            self._restore(iterator, state, batch, made, lasts=lasts)
        if not (state["state"] is None and state["python"]):
            seeds.set_host_state(host)
        if state["why"] is not None:
            seeded = data_functions.is_seeded(iterator)
            self.why = IteratorState(state["state"], state["why"], seeded)
        self.iterator = self.substitute or iterator
        self.is_same = state["is_same"]
        self._is_first = batch == 0

    @property
    def _has_state(self) -> bool:
        return self.why is not None and self.why.state is not None and self.iterator is not None

    def _lasts(self, iterator: Any, state: Mapping[str, Any]) -> bool:
        """Return whether one iterator serves several epochs."""
        dataset = iterators.dataset_of(iterator)
        known = -2 if dataset is None else int(dataset.cardinality())
        if known == -2 and not fitting.is_tf_keras(self.model):
            return bool(state["is_same"])
        return self.steps is not None and known != self.steps

    def _replay(self, iterator: Any, epoch: int, batch: int, made: int, *, lasts: bool) -> None:
        dataset = iterators.dataset_of(iterator)
        if dataset is None:
            dataset = fitting.distributed_dataset()
        again = batch
        if lasts:
            again += epoch * (self.steps or 0)
        elif dataset is not None:
            in_full = data_functions.draws_late(iterator, after_first=True)
            for _ in range(epoch):
                earlier = self.substitute or iterator
                if in_full:
                    deque(earlier, 0)
                else:
                    next(earlier)
                for _ in range(made):
                    self.substitute = iter(dataset)
        for _ in range(again):
            next(self.substitute or iterator)

    def _restore(
        self, iterator: Any, state: Mapping[str, Any], batch: int, made: int, *, lasts: bool
    ) -> None:
        import tensorflow as tf

        try:
            iterators.set_state(iterator, state["state"])
            if lasts:
                return
            dataset = iterators.dataset_of(iterator)
            if state["anchor"] is not None:
                self.anchor = state["anchor"]
                iterators.set_state(iter(dataset), state["anchor"])
            if batch == 0:
                for _ in range(made):
                    self.substitute = iter(dataset)
                self.anchor = None
        except tf.errors.OpError as error:
            raise RestoreError(
                f"TensorFlow refuses the state of the data: {error.message}",
                advice='Pass the same dataset, or go on with resume="weights".',
            ) from error

    def facts(self) -> Sequence[Fact]:
        """Return whether the order of the data is covered or replayed."""
        if self.iterator is None:
            return data_facts.unknown(
                "the batches do not come from an iterator of tf.data",
                "Use fit, or save a tfp.Training with the iterator.",
            )
        return data_facts.facts_of(self.iterator, self.why, self._size)

    def _described(self) -> dict[str, Any]:
        steps = {"batches of an epoch": self.steps}
        if self.iterator is None:
            return steps
        if self._description is None:
            self._description = {**steps, **same_data.description_of(self.iterator)}
        return self._description
