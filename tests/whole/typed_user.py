# pyright: strict
"""A user's program with types, which `test_types` gives to type checkers and nobody runs.

A line that ends in `# wrong` must be an error; no other line may be one. A value that is assigned
to a variable of another type in a wrong line shows that its type is known, and is not Any.
"""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import numpy as np

import tfpersist as tfp
from tfpersist import Frezer  # noqa: F401  # wrong
from tfpersist.safety import scan

tfp.ModelStorr("runs")  # wrong
tfp.safety.scam("model.pb")  # wrong
version: str = tfp.__version__

# --- a store: how it is made ---------------------------------------------------------------------

keep = tfp.Keep(last=5, every="1h", best=("accuracy", "max")) | tfp.Keep(steps=1000)
tfp.Keep(every=datetime.timedelta(hours=1), best="loss", where=lambda saved: saved.step == 3)
tfp.Keep(every=3600, best=("loss", "min", 3), last=None)
tfp.Keep(last="5")  # wrong
tfp.Keep(every=[1])  # wrong
tfp.Keep(best=("accuracy", "more"))  # wrong
tfp.Keep(best=3)  # wrong
tfp.Keep(where=3)  # wrong
store = tfp.ModelStore("runs", keep=keep, incremental=True, durable=False)
tfp.ModelStore(pathlib.Path("runs"), name="model.ckpt", keep=(keep, keep))
tfp.ModelStore("runs", keep=None)
tfp.ModelStore("runs", keep=3)  # wrong
tfp.ModelStore("runs", keep="all")  # wrong
tfp.ModelStore("runs", in_flight="x")  # wrong
tfp.ModelStore(3)  # wrong
tfp.ModelStore("runs", False)  # wrong

# --- a store: steps and verbs --------------------------------------------------------------------

narrow: tfp.ModelStore = store.only(["v1", "conv1/*"]).rename({"a": "b"}).averages("ema")
chosen: tfp.ModelStore = store.at(3).best("accuracy", "min").background(in_flight=2)
store.at([])  # wrong
store.at("newest")  # wrong
store.best("accuracy", "most")  # wrong
store.background("x")  # wrong
checkpoint: tfp.Checkpoint = store.save({"v": np.zeros(3)}, step=1, metrics={"accuracy": 0.5})
store.save({"v": np.zeros(3)}, metrics={"accuracy": "good"})  # wrong
latest: tfp.Checkpoint | None = store.latest()
latest.verify()  # wrong
report: tfp.RestoreReport = store.restore({}, missing="skip", mismatched="slice", dry_run=True)
store.restore({}, missing="ignore")  # wrong
names: tuple[str, ...] = report.missing
skipped: tuple[tfp.Skipped, ...] = report.skipped
row: tfp.Row = report.rows[0]
key: int = report.rows[0].key  # wrong
survey: tfp.Survey = store.verify()
survey_ok: str = survey.ok  # wrong
pruning: tfp.Pruning = store.prune(keep=keep, dry_run=True)
store.prune(keep=3)  # wrong
verdicts: tuple[tfp.Verdict, ...] = pruning.verdicts
step: int | None = verdicts[0].candidate.step
with store.open_graph() as graph_model:
    opened: tfp.GraphModel = graph_model
    notes: tuple[int, ...] = graph_model.notes  # wrong

# --- a checkpoint --------------------------------------------------------------------------------

saved = tfp.Checkpoint("runs/model.ckpt-7")
tfp.Checkpoint(7)  # wrong
array: np.ndarray[Any, Any] = saved["v"]
text: str = saved["v"]  # wrong
spec: tfp.TensorSpec = saved.specs["v"]
shape: str = saved.specs["v"].shape  # wrong
verification: tfp.Verification = saved.verify()
flaws: tuple[tfp.Flaw, ...] = verification.flaws
difference: tfp.Difference = saved.diff(checkpoint)
payload: tfp.Payload = saved.payload("v")
increment: tfp.Increment | None = saved.increment
with saved.pin() as pin:
    prefix: str = pin.prefix
    number: int = pin.prefix  # wrong

# --- a freezer -----------------------------------------------------------------------------------

freezer = tfp.Freezer("runs", policy=tfp.Policy("file read")).outputs("y").inputs(x="image:0")
freezer = freezer.bake({"is_training": False}).keep_variables("count").only_variables(["w"])
freezer = freezer.signature("serving_default").tags("serve").optimize().weights("int8")
freezer = freezer.portable("1.15").parity({"x": 1.0}, tolerance=1e-5)
tfp.Freezer()  # wrong
tfp.Freezer("runs", policy="all")  # wrong
tfp.Freezer("model.pb", checkpoint="runs")
tfp.Freezer("model.pb", checkpoint=3)  # wrong
tfp.Freezer("runs", options=3)  # wrong
freezer.bake(["is_training"])  # wrong
freezer.weights("float64")  # wrong
freezer.portable(1.15)  # wrong
freezer.parity({}, "1e-5")  # wrong
frozen: tfp.FrozenModel = freezer.freeze()
frozen = freezer.write("model.pb", durable=False, large=True)
portability: tfp.Portability = freezer.check("openvino")
blockers: tuple[tfp.Blocker, ...] = portability.blockers
candidates: tfp.Candidates = freezer.candidates()
candidate: str = candidates.outputs[0]  # wrong

# --- a frozen model ------------------------------------------------------------------------------

model: tfp.FrozenModel = tfp.FrozenModel.load("model.pb", policy=tfp.Policy.trusted(), mapped=False)
tfp.FrozenModel(frozen.graph, "model.pb", tfp.Policy.default())
tfp.FrozenModel(3)  # wrong
tfp.FrozenModel("model.pb")  # wrong
tfp.FrozenModel(frozen.graph, policy="all")  # wrong
tfp.FrozenModel.load(3)  # wrong
ref: tfp.TensorRef = model["y:0"]
inputs: tuple[tfp.TensorRef, ...] = model.inputs
operation: int = ref.operation  # wrong
list(model)  # wrong
summary: tfp.Summary = model.summary()
constants: tuple[tfp.Constant, ...] = summary.constants
signature: tfp.Signature | None = model.signature
origin: tfp.Origin = tfp.Signature().origin
proof: tfp.Proof | None = tfp.Signature().proof
bound: tfp.Bound = model.bind(["x"], {"label": "y"})
bound_inputs: str = bound.inputs  # wrong
parity: tfp.Parity = model.verify(tolerance=1e-5)
parity_ok: str = parity.ok  # wrong
again: tfp.Checkpoint = model.unfreeze(["w"], "runs", step=3)
model.unfreeze(["w"], "runs", step="3")  # wrong
model.run({"label": ref, "again": "y"}, {"x": 1.0, ref: 2.0})
model.run(["y", ref], {ref: 2.0})
model.run("y", ["x"])  # wrong
model.run(3)  # wrong
model.as_layer("x", 3)  # wrong
model.import_into(outputs=["y"], prefix=3)  # wrong

# --- safety and errors ---------------------------------------------------------------------------

scanned: tfp.ScanReport = scan("model.pb")
findings: tuple[tfp.Finding, ...] = tfp.safety.scan("model.pb").findings
count: str = findings[0].count  # wrong
tfp.Policy(3)  # wrong
try:
    model.run("y")
except tfp.ParityError as error:
    problem: str = error.problem
    code: int = error.problem  # wrong
except (tfp.RunError, tfp.FeedError):
    pass
