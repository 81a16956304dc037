"""Save random Keras models, edit them at random, restore, and compare every value with the truth.

    python fuzz/edits.py --seconds 600          Keras 3 models, and Keras 2 weights into Keras 3
    python fuzz/edits.py --cases 1000
    python fuzz/edits.py --first 517 --cases 1  one case again, with all that happened

Case number n is the same in every run. Every layer has an identity that its edits keep, and every
saved tensor has values of its own. So the truth is known without any rule of matching: a variable
may get only what the layer with the same identity had. A failure is: a value of another tensor,
with or without "skip" or by `rename(report.suggestion)`; or a variable that is left as it was
without a word. Edits that nobody could tell from another edit are not made.
"""

from __future__ import annotations

import argparse
import collections
import copy
import functools
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import keras
import numpy as np
import tensorflow as tf

import tfpersist as tfp

WIDTH = 4
LENGTH = 3
KINDS = ("dense", "dense", "dense", "norm", "batch", "conv", "lstm", "attention", "wide")
BY_CALLS = ("functional", "sequential")
IN_LISTS = ("list", "private", "lists")
STYLES = (*BY_CALLS, "attributes", *IN_LISTS, "dict")
OPTIMIZERS = ("", "adam", "adamw", "sgd", "rmsprop")
WORDS = (
    *("alpha", "beta", "gamma", "stem", "body", "head", "left", "right", "query", "item", "user"),
    *("layer_0", "layer_1", "layer_2", "layer_3", "block1", "block2", "block10", "conv9", "conv10"),
    *("up", "down", "norm_a", "norm_b", "encoder", "decoder", "proj", "tower", "mix", "out"),
)


@attrs.define
class Item:
    """A layer or a group of layers.

    Args:
        identity: what its edits keep.
        kind: which layer; "group" for a group.
        name: the name that a person gave; empty for none.
        held: the attribute or the key of a dict that holds it, where its group has such.
        style: how a group holds its items.
        items: those of a group; one that occurs twice is used twice.
    """

    identity: int
    kind: str
    name: str = ""
    held: str = ""
    style: str = ""
    items: list[Item] = attrs.field(factory=list)

    def walk(self) -> list[Item]:
        """Return all items of a group, with those of groups in it, each once."""
        found = {id(one): one for item in self.items for one in (item, *item.walk())}
        return list(found.values())

    def look(self) -> str:
        """Return what layers that could be taken for each other have in common."""
        return self.kind


class Maker:
    """Makes random models, and edits them."""

    def __init__(self, seed: str, era: str) -> None:
        self.rng = random.Random(seed)
        self.identities = itertools.count(1)
        self.era = era
        self.names = list(WORDS)
        self.rng.shuffle(self.names)

    def fresh_name(self) -> str:
        """Return a name that this case has not used yet."""
        return self.names.pop() if self.names else f"more_{next(self.identities)}"

    def layer(self, named: float) -> Item:
        """Return a random layer."""
        name = self.fresh_name() if self.rng.random() < named else ""
        return Item(next(self.identities), self.rng.choice(KINDS), name, f"part_{self.word()}")

    def word(self) -> str:
        """Return a word that is not used otherwise."""
        return self.rng.choice("abcdefghkmprstw") + str(next(self.identities))

    def model(self, writer: str) -> Item:
        """Return a random model."""
        rng = self.rng
        named = rng.choice((0.0, 0.5, 1.0, 1.0))
        # TensorFlow does not track layers in private lists or in lists in lists.
        untracked = ("private", "lists")
        styles = [one for one in STYLES if one not in untracked or writer == "tfpersist"]
        if self.era == "keras2":
            styles = [one for one in styles if one not in ("private", "dict", "lists")]
        style = rng.choice(styles)
        items = [self.layer(named) for _ in range(rng.randint(1, rng.choice((4, 6, 12))))]
        if rng.random() < 0.3:
            some = [self.layer(named) for _ in range(rng.randint(1, 4))]
            name = self.fresh_name() if rng.random() < max(named, 0.5) else ""
            inside = rng.choice([one for one in styles if one not in IN_LISTS])
            group = Item(next(self.identities), "group", name, f"part_{self.word()}", inside, some)
            items.insert(rng.randint(0, len(items)), group)
        if rng.random() < 0.15 and style != "sequential":
            items.append(rng.choice([one for one in items if one.kind != "wide"] or items))
        return Item(0, "group", "", "", style, items)

    def edited(self, model: Item, writer: str) -> tuple[Item, list[str]]:
        """Return a copy with random edits, and what they were."""
        new = copy.deepcopy(model)
        said: list[str] = []
        # What came, went or was renamed, by what it looks like: nobody could tell, for example, a
        # layer that was renamed from one that went and another one that came.
        changed: dict[str, set[str]] = collections.defaultdict(set)
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 2, 3))):
            edits = [self._swap, self._insert, self._remove] * 2
            edits += [self._rename, self._rename_all, self._nest, self._un_nest, self._head]
            edit = self.rng.choice([*edits, self._style])
            done = edit(new, changed, writer)
            if done:
                said.append(done)
        return new, said

    def _groups(self, model: Item) -> list[Item]:
        return [model, *(one for one in model.walk() if one.kind == "group")]

    def _swap(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        if len(group.items) < 2 or (group.style in IN_LISTS and not self._tells_lists(writer)):
            return ""
        one, other = self.rng.sample(range(len(group.items)), 2)
        a, b = group.items[one], group.items[other]
        plain = a.kind != "group" and b.kind != "group" and a is not b
        once = group.items.count(a) == group.items.count(b) == 1
        told = (a.name and b.name) or group.style in ("attributes", "dict")
        if not plain or not once or not told or "renamed" in changed[a.look()] | changed[b.look()]:
            return ""
        changed[a.look()].add("moved")
        changed[b.look()].add("moved")
        group.items[one], group.items[other] = b, a
        return f"swap {a.identity} and {b.identity}"

    def _tells_lists(self, writer: str) -> bool:
        return writer == "tfpersist" or self.era == "keras2"

    def _insert(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        new = self.layer(self.rng.choice((0.0, 1.0)))
        if changed[new.look()] & {"removed", "renamed"}:
            return ""
        changed[new.look()].add("inserted")
        at = self.rng.randint(0, len(group.items))
        group.items.insert(at, new)
        return f"insert {new.kind} {new.identity} at {at}"

    def _remove(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        plain = [one for one in group.items if one.kind != "group"]
        if len(group.items) < 2 or not plain:
            return ""
        gone = self.rng.choice(plain)
        if changed[gone.look()] & {"inserted", "renamed"} or group.items.count(gone) > 1:
            return ""
        changed[gone.look()].add("removed")
        group.items.remove(gone)
        return f"remove {gone.identity}"

    def _rename(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        one = self.rng.choice(model.walk())
        looks = {part.look() for part in (one, *one.walk())}
        if any(changed[look] for look in looks):
            return ""
        for look in looks:
            changed[look].add("renamed")
        one.name = self.fresh_name() if self.rng.random() < 0.8 else ""
        if self.rng.random() < 0.5:
            one.held = f"part_{self.word()}"
        return f"rename {one.identity} to {one.name!r}, {one.held}"

    def _rename_all(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        if any(changed.values()):
            return ""
        ends = self.rng.sample(range(100, 999), len(model.walk()))
        for one, end in zip(model.walk(), sorted(ends), strict=True):
            changed[one.look()].add("renamed")
            if one.name:
                one.name = f"new_{end}"
        return "rename all"

    def _nest(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        if (model.style in IN_LISTS and not self._tells_lists(writer)) or len(model.items) < 2:
            return ""
        start = self.rng.randint(0, len(model.items) - 2)
        end = self.rng.randint(start + 1, len(model.items))
        some = model.items[start:end]
        if any(not one.name or model.items.count(one) > 1 or one.kind == "group" for one in some):
            return ""
        style = self.rng.choice((*BY_CALLS, "attributes"))
        group = Item(
            next(self.identities), "group", self.fresh_name(), f"part_{self.word()}", style, some
        )
        for one in some:
            changed[one.look()].add("moved")
        model.items[start:end] = [group]
        return f"nest {[one.identity for one in some]}"

    def _un_nest(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        groups = [one for one in model.items if one.kind == "group"]
        if not groups or (model.style in IN_LISTS and not self._tells_lists(writer)):
            return ""
        group = groups[0]
        if model.items.count(group) > 1 or any(not one.name for one in group.items):
            return ""
        if any(changed[one.look()] for one in group.items):
            return ""
        for one in group.items:
            changed[one.look()].add("moved")
        at = model.items.index(group)
        model.items[at : at + 1] = group.items
        return f"un-nest {group.identity}"

    def _head(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        new = Item(next(self.identities), "wide", self.fresh_name(), f"part_{self.word()}")
        if model.style == "sequential" and model.items[-1].kind == "wide":
            return ""
        if changed["wide"] & {"removed", "renamed"}:
            return ""
        changed["wide"].add("inserted")
        model.items.append(new)
        return f"head {new.identity}"

    def _style(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        if any(not one.name for one in group.items) or any(changed.values()):
            return ""
        if group.style in IN_LISTS and not self._tells_lists(writer):
            return ""
        before, group.style = group.style, self.rng.choice((*BY_CALLS, "attributes", "list"))
        if group.style == "sequential" and len(set(map(id, group.items))) < len(group.items):
            group.style = "functional"
        for one in group.items:
            changed[one.look()].add("renamed")
        return f"hold {group.identity} by {group.style}, before by {before}"


def call(k: Any, part: Any, value: Any) -> Any:
    """Call a layer; attention is that of a sequence to itself."""
    if isinstance(part, k.layers.MultiHeadAttention):
        return part(value, value)
    return part(value)


def width_after(item: Item, width: int) -> int:
    """Return the width of what a layer or a group returns."""
    if item.kind == "group":
        for one in item.items:
            width = width_after(one, width)
        return width
    kept = {"norm": width, "batch": width, "attention": width, "wide": WIDTH + 1}
    return kept.get(item.kind, WIDTH)


@functools.cache
def classes(k: Any) -> dict[str, type]:
    """Return the classes of models and layers that people write."""

    def set_up(self: Any, style: str, items: list[tuple[str, Any]]) -> None:
        parts = [part for _, part in items]
        if style == "attributes":
            for held, part in items:
                setattr(self, held, part)
        elif style == "list":
            self.parts = parts
        elif style == "private":
            self._parts = parts
        elif style == "lists":
            self.stages = [parts[:2], parts[2:]]
        else:
            self.table = dict(items)
        self.use = lambda x: functools.reduce(lambda value, part: call(k, part, value), parts, x)

    class Net(k.Model):
        def __init__(self, style: str, items: list[tuple[str, Any]], name: str | None = None):
            super().__init__(name=name)
            set_up(self, style, items)

        def call(self, x: Any) -> Any:
            return self.use(x)

    class Block(k.layers.Layer):
        def __init__(self, style: str, items: list[tuple[str, Any]], name: str | None = None):
            super().__init__(name=name)
            set_up(self, style, items)

        def call(self, x: Any) -> Any:
            return self.use(x)

    return {"model": Net, "layer": Block}


class Built:
    """A model of Keras made from an item, with its layers by identity."""

    def __init__(self, k: Any, item: Item, optimizer: str, scaled: bool) -> None:
        self.k = k
        self.layers: dict[int, Any] = {}
        self.parts: dict[int, Any] = {}
        self.model = self._group(item, "model", WIDTH)
        self.model(np.zeros((1, LENGTH, WIDTH), np.float32))
        self.optimizer: Any = None
        if optimizer:
            self._compile(optimizer, scaled)

    def _compile(self, name: str, scaled: bool) -> None:
        k = self.k
        make = {
            "adam": k.optimizers.Adam,
            "adamw": k.optimizers.AdamW,
            "rmsprop": k.optimizers.RMSprop,
            "sgd": lambda: k.optimizers.SGD(momentum=0.9),
        }
        inner = self.optimizer = make[name]()
        outer = k.mixed_precision.LossScaleOptimizer(inner) if scaled else inner
        self.model.compile(outer, "mse")
        variables = self.model.trainable_variables
        outer.apply_gradients([(tf.zeros(one.shape), one) for one in variables])

    def _layer(self, item: Item, width: int) -> Any:
        if item.identity in self.parts:
            return self.parts[item.identity]
        if item.kind == "group":
            part = self._group(item, "layer" if item.identity % 2 else "model", width)
        else:
            make, options = self.k.layers, {"name": item.name or None}
            part = self.layers[item.identity] = {
                "dense": lambda: make.Dense(WIDTH, **options),
                "wide": lambda: make.Dense(WIDTH + 1, **options),
                "norm": lambda: make.LayerNormalization(**options),
                "batch": lambda: make.BatchNormalization(**options),
                "conv": lambda: make.Conv1D(WIDTH, 2, padding="same", **options),
                "lstm": lambda: make.LSTM(WIDTH, return_sequences=True, **options),
                "attention": lambda: make.MultiHeadAttention(2, 2, **options),
            }[item.kind]()
        self.parts[item.identity] = part
        return part

    def _group(self, item: Item, kind: str, width: int) -> Any:
        parts = []
        outer = width
        for one in item.items:
            parts.append((one.held, self._layer(one, outer)))
            outer = width_after(one, outer)
        name = item.name or None
        if item.style == "functional":
            inputs = value = self.k.Input((LENGTH, width))
            for _, part in parts:
                value = call(self.k, part, value)
            return self.k.Model(inputs, value, name=name)
        if item.style == "sequential":
            inputs = self.k.Input((LENGTH, width))
            return self.k.Sequential([inputs, *(part for _, part in parts)], name=name)
        return classes(self.k)[kind](item.style, parts, name)

    def variables(self) -> dict[tuple[Any, ...], Any]:
        """Return all variables that count, by layer and place, and by slot of such a one."""
        found: dict[tuple[Any, ...], Any] = {}
        for identity, layer in self.layers.items():
            for at, variable in enumerate(layer.weights):
                found[identity, at] = variable
        if self.optimizer is not None and self.k is keras:
            kept = {id(variable): label for label, variable in found.items()}
            trained = self.model.trainable_variables
            kind = {"AdamW": "Adam"}.get(type(self.optimizer).__name__, "")
            kind = kind or type(self.optimizer).__name__
            for slot in ("_momentums", "_velocities", "momentums"):
                slots = getattr(self.optimizer, slot, None) or ()
                for variable, state in zip(trained, slots, strict=False):
                    if state is not None and id(variable) in kept:
                        found[(kind, slot, *kept[id(variable)])] = state
        return found


class Values:
    """Gives each variable values of its own, and finds out whose values one has."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.owners: dict[bytes, tuple[Any, ...]] = {}

    def fill(self, variables: dict[tuple[Any, ...], Any]) -> None:
        """Give all variables new values."""
        for label, variable in variables.items():
            value = self.rng.normal(size=variable.shape).astype(np.float32)
            variable.assign(value)
            self.owners[value.tobytes()] = label

    def owner(self, variable: Any) -> tuple[Any, ...] | None:
        """Return the label of the variable that these values were given to; None for no one."""
        return self.owners.get(np.asarray(variable).tobytes())


@attrs.define
class Verdict:
    """What became of a case; `wrong` says what is not true."""

    outcome: str
    said: str
    wrong: str = ""


class Case:
    """One case: a saved model, its edits, and the restore of it."""

    def __init__(self, number: int, folder: str) -> None:
        self.number, self.folder = number, folder
        self.rng = random.Random(f"edits {number}")
        self.era = "keras2" if number % 4 == 3 else "keras3"
        self.writer = "keras2" if self.era == "keras2" else self.rng.choice(("tfpersist", "tf"))
        maker = Maker(f"model {number}", self.era)
        self.before = maker.model(self.writer)
        self.after, self.said = maker.edited(self.before, self.writer)
        if self.era == "keras2":
            self.optimizers = ("", "")
        else:
            first = self.rng.choice(OPTIMIZERS)
            second = first if self.rng.random() < 0.5 else self.rng.choice(OPTIMIZERS)
            self.optimizers = first, second
        self.scaled = tuple(self.rng.random() < 0.15 for _ in range(2))

    def run(self) -> Verdict:
        """Save, restore and compare."""
        keras.backend.clear_session()
        k: Any = keras
        if self.era == "keras2":
            import tf_keras

            k = tf_keras
            k.backend.clear_session()
        try:
            saved = Built(k, self.before, self.optimizers[0], self.scaled[0])
            there = saved.variables()
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            return Verdict("no such model", str(error)[:100])
        self.values = Values(self.number)
        self.values.fill(there)
        self._save(saved)
        keras.backend.clear_session()
        if self.rng.random() < 0.3:
            for _ in range(2):
                keras.Sequential([keras.Input((LENGTH, WIDTH)), keras.layers.Dense(WIDTH)])
        try:
            self.live = Built(keras, self.after, self.optimizers[1], self.scaled[1])
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            return Verdict("no such model", str(error)[:100])
        shapes = {label: tuple(one.shape) for label, one in there.items()}
        if self._hides_edits(shapes):
            return Verdict("cannot be told", "")
        return self._judge(shapes)

    def _hides_edits(self, shapes: dict[tuple[Any, ...], tuple[int, ...]]) -> bool:
        """Return whether a layer without a lasting name has other shapes: it could be any other."""
        names = {one.identity: one.name for one in self.before.walk()}
        changed = {
            label[0]
            for label, one in self.live.variables().items()
            if label in shapes and shapes[label] != tuple(one.shape)
        }
        return any(
            one.identity in changed and not (one.name and one.name == names[one.identity])
            for one in self.after.walk()
        )

    def _save(self, saved: Built) -> None:
        if self.writer == "keras2":
            saved.model.save_weights(f"{self.folder}/w", save_format="tf")
        elif self.writer == "tf":
            tf.train.Checkpoint(saved.model).write(f"{self.folder}/w")
        else:
            tfp.ModelStore(self.folder).save(saved.model)

    def _judge(self, shapes: dict[tuple[Any, ...], tuple[int, ...]]) -> Verdict:
        here = self.live.variables()
        fitting = {
            label
            for label, one in here.items()
            if all(
                shapes.get(each) == tuple(other.shape)
                for each, other in here.items()
                if each[:1] == label[:1] and isinstance(label[0], int)
            )
            and shapes.get(label) == tuple(one.shape)
        }
        spoil = Values(self.number + 1)
        store = tfp.ModelStore(self.folder)
        best, suggestion = 0, {}
        for skip in (False, True):
            spoil.fill(self.live.variables())
            options = {"missing": "skip", "mismatched": "skip"} if skip else {}
            report, problem = self._restore(store, options, fitting)
            if problem:
                return Verdict("WRONG", f"{options}", problem)
            best = max(best, self._landed())
            suggestion = suggestion or dict(report.suggestion if report else {})
            if not skip and best == len(here):
                break
        outcome = self._outcome(best, fitting)
        if suggestion and outcome != "right":
            spoil.fill(self.live.variables())
            options = {"missing": "skip", "mismatched": "skip"}
            _, problem = self._restore(store.rename(suggestion), options, fitting)
            if problem:
                return Verdict("WRONG SUGGESTION", f"{suggestion}", problem)
            if self._outcome(self._landed(), fitting) == "right":
                return Verdict("right with suggestion", "")
        left = [label for label in fitting if self.values.owner(here[label]) is None]
        return Verdict(outcome, "" if outcome == "right" else f"left {sorted(map(str, left))}")

    def _outcome(self, landed: int, fitting: set[tuple[Any, ...]]) -> str:
        return "right" if landed == len(fitting) else "refused" if not landed else "refused partly"

    def _landed(self) -> int:
        here = self.live.variables()
        return sum(self.values.owner(one) is not None for one in here.values())

    def _restore(
        self, store: Any, options: dict[str, Any], fitting: set[tuple[Any, ...]]
    ) -> tuple[Any, str]:
        report = None
        try:
            report = store.restore(self.live.model, **options)
        except tfp.RestoreError as error:
            failed, report = True, error.report
        else:
            failed = False
        here = self.live.variables()
        owners = {label: self.values.owner(one) for label, one in here.items()}
        for label, owner in owners.items():
            if owner is not None and failed:
                return report, f"{label} was assigned although the restore failed"
            if owner is not None and owner != label:
                return report, f"{label} has the values of {owner}"
        silent = [label for label, owner in owners.items() if owner is None and label in fitting]
        weights = [label for label in owners if isinstance(label[0], int)]
        unsaid = [label for label in weights if owners[label] is None]
        if not failed and len(unsaid) > len(report.kept):
            return report, f"left as it was without a word: {unsaid or silent}"
        return report, ""

    def describe(self) -> str:
        """Return the model, the edits and the target as text."""
        lines = [f"{self.era} by {self.writer}, optimizers {self.optimizers} {self.scaled}"]
        lines += [_text(self.before), *map(str, self.said), _text(self.after)]
        return "\n  ".join(lines)


def _text(item: Item) -> str:
    if item.kind != "group":
        return f"{item.identity}:{item.kind}({item.name},{item.held})"
    inside = ", ".join(map(_text, item.items))
    return f"{item.identity}:{item.style}({item.name},{item.held})[{inside}]"


def main() -> int:
    """Run until there are enough cases or seconds; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=0, help="how many; 0 for no end")
    parser.add_argument("--seconds", type=float, default=0, help="in all; 0 for no end")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--step", type=int, default=1, help="run every so many-th case")
    parser.add_argument("--show", nargs="*", default=(), help="show cases with these outcomes")
    arguments = parser.parse_args()
    if not arguments.cases and not arguments.seconds:
        arguments.cases = 1000
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failed = []
    start = time.monotonic()
    for number in itertools.count(arguments.first, arguments.step):
        done = (number - arguments.first) // arguments.step
        if arguments.cases and done >= arguments.cases:
            break
        if arguments.seconds and time.monotonic() - start > arguments.seconds:
            break
        folder = tempfile.mkdtemp()
        case = Case(number, folder)
        try:
            verdict = case.run()
        except Exception:
            verdict = Verdict("CRASH", "", traceback.format_exc(limit=-6))
        finally:
            shutil.rmtree(folder)
        counts[case.writer][verdict.outcome] += 1
        if verdict.wrong:
            failed.append(number)
        if verdict.wrong or verdict.outcome in arguments.show:
            print(f"{number} {verdict.outcome}: {verdict.wrong} {verdict.said}")
            print(f"  {case.describe()}", flush=True)
    for writer, outcomes in sorted(counts.items()):
        print(f"{writer}: " + ", ".join(f"{n} {text}" for text, n in sorted(outcomes.items())))
    print(f"{len(failed)} failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
