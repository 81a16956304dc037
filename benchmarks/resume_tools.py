"""tfpersist in the acceptance harness: `--more benchmarks/resume_tools.py`."""

from __future__ import annotations

from typing import Any

from settings import EVERY, Parts

from tools import Tool, _session


class TFPersist(Tool):
    """ModelStore with callback(), tfp.Training and hook(data=)."""

    def store(self, env: Any) -> Any:
        import tfpersist

        return tfpersist.ModelStore(env.folder / "store", durable=False)

    def loop(self, parts: Parts, env: Any) -> Any:
        import tfpersist

        self.env, self.kept = env, self.store(env)
        self.training = tfpersist.Training(**parts.objects, data=parts.iterator)
        parts.iterator = self.training.data
        self.parts = parts
        return self

    def restore(self) -> int:
        if self.kept.checkpoints():
            self.note(self.kept.restore(self.training))
        return int(self.parts.objects["step"])

    def save(self, done: int) -> None:
        self.kept.save(self.training, done)

    def note(self, report: Any) -> None:
        self.env.notes += [str(one) for one in report.resume.not_covered]

    def fit(self, model: Any, others: Any, per_epoch: int, env: Any) -> Any:
        self.env, self.callback = env, self.store(env).callback(EVERY)
        begin = self.callback.on_train_begin

        def noted(logs: Any = None) -> None:
            begin(logs)
            if self.callback.report is not None:
                self.note(self.callback.report)

        self.callback.on_train_begin = noted
        return [], {}

    def last(self) -> list[Any]:
        return [self.callback]

    def monitored(self, iterator: Any, env: Any) -> Any:
        self.env, self.hook = env, self.store(env).hook(every_steps=EVERY, data=iterator)
        return _session(iterator, hooks=[self.hook])

    def position(self, session: Any, batch: Any, done: int) -> None:
        if self.hook.report is not None:
            self.note(self.hook.report)


TOOLS = {"tfpersist": TFPersist}
