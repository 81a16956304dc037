"""The state of a `fit` under way: what a save captures of it, and how it is put back.

Everything is put back when the other callbacks have done what they do at the same place of the
training: at the beginning of `fit` where the save was between epochs, and otherwise when they have
been called for the batches that are skipped. So what they change then does not count twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import RestoreError
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.internals import fitting
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.training import resume_state
from tfpersist.tf.training.data_of_fit import DataOfFit
from tfpersist.tf.training.other_callbacks import OtherCallbacks
from tfpersist.tf.training.seeds import Seeds


@attrs.frozen
class Progress:
    """The progress of a training.

    Args:
        epoch: the number of complete epochs.
        batch: the number of complete batches of the next epoch.
        step: the number of batches that were trained on in all.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0


@attrs.define(eq=False)
class FitState(Resumable):
    """A model that `fit` trains, with all that its training depends on.

    Args:
        model: the model.
        seeds: its random generators.
        data: its data.
        others: the other callbacks; None if they are not known.
        strict: whether a save raises an error if something is not covered.
        validation: what is known of the validation data.
    """

    model: Any
    seeds: Seeds
    data: DataOfFit
    others: OtherCallbacks | None
    strict: bool
    validation: Sequence[Fact] = ()
    progress: Progress = attrs.field(init=False, factory=Progress)
    logs: Mapping[str, Any] = attrs.field(init=False, factory=dict)
    environment: Mapping[str, str] = attrs.field(init=False, factory=resume_state.environment)
    # What a restore has found, until it is put back.
    found: Mapping[str, Any] | None = attrs.field(init=False, default=None)
    # How many batches are still skipped.
    left: int = attrs.field(init=False, default=0)
    # The steps of the optimizer, less the step of the training, when the epoch began.
    _base: int | None = attrs.field(init=False, default=None)
    _trackable: Any = attrs.field(init=False, default=None)

    @property
    def subject(self) -> Any:
        """The model."""
        return self.model

    def as_target(self) -> Any:
        """Return the model, with one more child for the state."""
        if self._trackable is None:
            import tensorflow as tf

            state = resume_state.resume_state(self.capture, self._keep)
            self._trackable = tf.train.Checkpoint(self.model, **{resume_state.NAME: state})
        return self._trackable

    def resumed(self, saved: Resume | None) -> Resume:
        """Return what a restore has put back, or will."""
        found = resume_state.resumed(saved, was_found=self.found is not None)
        callbacks = None if self.found is None else self.found["callbacks"]
        if self.others is None or callbacks is None:
            return found
        return attrs.evolve(found, facts=(*found.facts, *self.others.differences(callbacks)))

    def noted(self) -> Resume:
        """Return what a save made now carries."""
        facts = [*self.seeds.facts(), *self.data.facts(), *self.validation, *self._facts()]
        found = Resume(tuple(facts), self.environment)
        return resume_state.checked(found, strict=self.strict)

    def _facts(self) -> list[Fact]:
        name = "the metrics of the epoch"
        found = [Fact("covered", name, "as they are after each batch")]
        if self.data.iterator is None:
            found = [Fact("not covered", name, "", "they are made at a batch that fit reads")]
        if self.others is None:
            found.append(
                Fact(
                    "not covered",
                    "the state of other callbacks",
                    "",
                    "no list of callbacks calls this one",
                    "Call the callbacks by keras.callbacks.CallbackList.",
                )
            )
        else:
            found += self.others.facts()
        return found

    def capture(self) -> Mapping[str, Any]:
        """Return the state of the training."""
        has_metrics = self.data.iterator is not None
        measured = fitting.metric_variables(self.model) if has_metrics else ()
        generators, metrics = self.seeds.capture_with(measured)
        return {
            "version": 1,
            "progress": attrs.asdict(self.progress),
            "seeds": generators,
            "data": self.data.capture(),
            "callbacks": None if self.others is None else self.others.capture(),
            "metrics": metrics if has_metrics else None,
            "logs": {name: np.asarray(value) for name, value in self.logs.items()},
            "stop": bool(self.model.stop_training),
        }

    def _keep(self, state: Mapping[str, Any]) -> None:
        """Keep what a checkpoint holds, if it fits."""
        resume_state.require_version(state)
        self.seeds.check(state["seeds"])
        self.data.check(state["data"], state["progress"]["batch"])
        self.found = state

    def first_epoch(self, epochs: int | None) -> int:
        """Return the epoch that `fit` begins at.

        Args:
            epochs: the number of epochs; none is left where a callback had ended the training.
        """
        has_ended = self.found is not None and self.found["stop"] and not self.progress.batch
        return epochs if has_ended and epochs is not None else self.progress.epoch

    def begin(self, epochs: int | None) -> None:
        """Go on between two epochs, before the other callbacks begin the next one.

        Callbacks after ours have not been called for the end of the epoch before, since the process
        had its end. They are now, when they have begun. One of them may end the training.

        Args:
            epochs: the number of epochs.
        """
        state = self.found
        if state is None or self.progress.batch:
            return
        self.seeds.restore(state["seeds"])
        others, callbacks = self.others, state["callbacks"]
        if others is None or callbacks is None:
            return
        others.restore(callbacks, after=False)

        def end_epoch(name: Any, callback: Any) -> None:
            others.restore(callbacks, only=name)
            callback.on_epoch_end(self.progress.epoch - 1, dict(self._logs(state)))
            if self.model.stop_training and epochs is not None:
                fitting.begin_at_epoch(self.model, epochs)

        for name, callback in others.named_after.items() if self.progress.epoch else ():
            work = functools.partial(end_epoch, name, callback)
            fitting.after_once(callback, "on_train_begin", work)

    def epoch_begins(self) -> None:
        """Note that an epoch begins."""
        state = self.found
        self.left = self.progress.batch
        if state is not None and self.progress.batch:
            self.data.begin_replay(state["data"])
        self.data.epoch_begins()
        steps = fitting.steps_of_optimizer(self.model)
        self._base = None if steps is None else steps - self.progress.step

    def progress_now(self) -> Progress:
        """Return the progress between two calls of callbacks, where a batch may be complete."""
        steps = fitting.steps_of_optimizer(self.model)
        progress, ahead = self.progress, 0
        if steps is not None and self._base is not None and not self.left:
            ahead = steps - self._base - progress.step
        if not 0 < ahead <= fitting.steps_at_once(self.model):
            return progress
        return Progress(progress.epoch, progress.batch + ahead, progress.step + ahead)

    def train(self, real: Callable[[Any], Any], iterator: Any) -> Any:
        """Train on the next batches, or skip them.

        Args:
            real: the training function of the model.
            iterator: what `fit` passes to it.

        Returns:
            The logs.
        """
        if self.left > 0:
            at_once = fitting.steps_at_once(self.model)
            self.left -= at_once
            if self.found is None:
                self.data.skip(iterator, at_once)
                return {}
            if self.left <= 0:
                self._go_to(iterator)
            return self._logs(self.found)
        if self.found is not None:
            self._go_to(iterator)
            self.found = None
        return real(self.data.before_batch(iterator))

    @property
    def trains_as_usual(self) -> bool:
        """Whether the training function of the model can be called without `train`."""
        data = self.data
        return self.found is None and not self.left and data.substitute is None and data.is_known

    def arrive(self, restore: Callable[[], object]) -> None:
        """Put everything back after the last batch that was skipped.

        Args:
            restore: restores the variables of the model once more.
        """
        state = self.found
        assert state is not None
        if self.others is not None and self.others.named:
            restore()
        if state["metrics"] is not None and self.data.spec is not None:
            self._restore_metrics(state["metrics"])
        if self.others is not None and state["callbacks"] is not None:
            self.others.restore(state["callbacks"])
        if not state["data"]["python"]:
            self.seeds.restore(state["seeds"])
        self.model.stop_training = state["stop"]
        self.found = None

    def _restore_metrics(self, saved: Sequence[Any]) -> None:
        variables = fitting.metric_variables(self.model)
        if len(variables) < len(saved):
            fitting.make_metrics(self.model, self.data.spec)
            variables = fitting.metric_variables(self.model)
        if len(variables) != len(saved):
            raise RestoreError(
                "the model has other metrics",
                expected=f"{len(saved)} variables of metrics, as in the checkpoint",
                found=len(variables),
                advice='Compile it with the same metrics, or go on with resume="weights".',
            )
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)

    def _go_to(self, iterator: Any) -> None:
        assert self.found is not None
        progress = self.progress
        self.data.go_to(iterator, self.found["data"], progress.epoch, progress.batch)

    @staticmethod
    def _logs(state: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value[()] for name, value in state["logs"].items()}
