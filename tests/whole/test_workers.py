"""Several processes save one checkpoint, and restore it."""


def test_workers_of_any_launcher_save_together_and_a_killed_one_changes_nothing(fresh):
    fresh(
        """
import os, signal, sys

import numpy as np

import tfpersist as tfp

assert "tensorflow" not in sys.modules
store = tfp.ModelStore("run")


def save(of, step, attempt, killed=None):
    started = []
    for worker in range(of):
        pid = os.fork()
        if not pid:
            rows = np.full(400_000, float(step))
            if worker == killed:
                os.kill(os.getpid(), signal.SIGKILL)
            store.part(worker, of, attempt).save({f"rows/{worker}": rows}, step)
            os._exit(0)
        started.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in started]


assert save(3, 1, "first") == [0, 0, 0]
store.commit(1, 3, "first")
assert save(3, 2, "second", killed=1) == [0, signal.SIGKILL, 0]
try:
    store.commit(2, 3, "second", timeout=0.1)
except tfp.SaveError as error:
    assert "missing: 1; nothing was saved" in str(error), error
else:
    raise AssertionError("saved")
assert store.latest().step == 1

# Two workers try again.
assert save(2, 2, "third") == [0, 0]
checkpoint = store.commit(2, 2, "third")
assert sorted(checkpoint) == ["rows/0", "rows/1"]
assert store.verify().ok
rows = np.zeros(400_000)
store.restore({"rows/1": rows})
assert set(rows) == {2.0}
"""
    )


CLUSTER = """
import json, os, signal, socket, sys, traceback

import numpy as np
import tensorflow as tf

import tfpersist as tfp
from tfpersist.store import together
from tfpersist.tf.internals import workers

ON_READ = tf.VariableSynchronization.ON_READ
MEAN, SUM = tf.VariableAggregation.MEAN, tf.VariableAggregation.SUM


def cluster(count, work):
    \"\"\"Run a function in the processes of a cluster; return how they ended.\"\"\"
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    started = []
    for rank in range(count):
        pid = os.fork()
        if not pid:
            code = 1
            signal.alarm(200)
            task = {"type": "worker", "index": rank}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
            try:
                work(rank)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        started.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in started]


def make(factor):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        made = {
            "large": tf.Variable(tf.fill([300, 300], factor)),
            "v": tf.Variable(np.arange(3, dtype=np.float32) * factor),
            "n": tf.Variable(0, dtype=tf.int64),
            "mean": tf.Variable(0.0, False, synchronization=ON_READ, aggregation=MEAN),
            "sum": tf.Variable(0.0, False, synchronization=ON_READ, aggregation=SUM),
        }
    made["own"] = tf.Variable(7.0 * factor)
    return strategy, made


def train(strategy, made, rank):
    @tf.function
    def step():
        gradient = tf.distribute.get_replica_context().all_reduce("sum", tf.ones(3))
        made["v"].assign_add(gradient)
        made["n"].assign_add(1)
        made["mean"].assign_add(rank + 1.0)
        made["sum"].assign_add(rank + 1.0)

    strategy.run(step)


def held(made):
    return {key: [np.asarray(each).tolist() for each in getattr(one, "values", [one])]
            for key, one in made.items() if key != "large"}


def fails(error, words, call):
    try:
        call()
    except error as raised:
        assert words in str(raised), raised
    else:
        raise AssertionError("no error")
"""


def test_the_workers_of_a_strategy_save_their_shares_and_any_number_restores(fresh):
    fresh(
        CLUSTER
        + """
def save(rank):
    strategy, made = make(1.0)
    checkpoint = tf.train.Checkpoint(**made)
    store = tfp.ModelStore("run")
    for _ in range(2):
        train(strategy, made, rank)
    saved = store.save(checkpoint, made["n"], {"loss": 0.5})
    assert saved.step == 2 and saved.metrics == {"loss": 0.5}
    # What TensorFlow writes: each worker, the others into a folder that is thrown away.
    checkpoint.write("theirs/model.ckpt-2" if rank == 0 else f"worker{rank}/model.ckpt-2")
    with store.background() as background:
        later = background.save(made, 3)
        train(strategy, made, rank)
    assert later["v"].tolist() == [4.0, 5.0, 6.0] and later["sum"] == 6.0
    fails(tfp.TargetError, "PreemptionCheckpointHandler",
          lambda: store.save_on_signal(made, signal.SIGTERM))


assert cluster(2, save) == [0, 0]
files = [name for name in os.listdir("run") if "ckpt-2.data" in name]
assert len(files) == 2 and min(os.path.getsize("run/" + name) for name in files) > 0
assert tfp.ModelStore("run").verify().ok

reader = tf.train.load_checkpoint("run/model.ckpt-2")
value = lambda key: reader.get_tensor(key + "/.ATTRIBUTES/VARIABLE_VALUE").tolist()
assert value("v") == [4.0, 5.0, 6.0] and value("large") == [[1.0] * 300] * 300
assert (value("mean"), value("sum"), value("n"), value("own")) == (3.0, 6.0, 2, 7.0)
assert not tfp.Checkpoint("run/model.ckpt-2").diff(tfp.Checkpoint("theirs/model.ckpt-2"))


def restore(rank):
    strategy, made = make(0.0)
    checkpoint, store = tf.train.Checkpoint(**made), tfp.ModelStore("run")
    fails(tfp.CheckpointNotFoundError, "none", lambda: tfp.ModelStore("none").restore(checkpoint))
    before = held(made)
    fails(tfp.RestoreError, "different checkpoints",
          lambda: (store if rank else tfp.ModelStore("theirs")).at(2).restore(checkpoint))
    fails(tfp.TargetError, "worker 1: model.ckpt-8", lambda: store.save(made, 7 + rank))
    assert held(made) == before
    assert not store.at(2).restore(checkpoint).kept
    wanted = {"v": [[4.0, 5.0, 6.0]], "n": [2], "mean": [3.0], "sum": [2.0], "own": [7.0]}
    assert held(made) == wanted, held(made)
    assert float(tf.reduce_sum(made["large"].values[0])) == 90_000
    train(strategy, made, rank)
    assert made["v"].numpy().tolist() == [7.0, 8.0, 9.0]
    tfp.ModelStore("theirs").restore(checkpoint)
    assert held(made) == wanted


assert cluster(3, restore) == [0, 0, 0]
single = {key: tf.Variable(tf.zeros_like(one)) for key, one in
          {"v": [0.0] * 3, "mean": 0.0, "sum": 0.0}.items()}
tfp.ModelStore("run").at(2).restore(tf.train.Checkpoint(**single))
assert single["sum"].numpy() == 6.0 and single["v"].numpy().tolist() == [4.0, 5.0, 6.0]
"""
    )


def test_a_worker_of_a_strategy_that_fails_or_is_killed_changes_nothing(fresh):
    fresh(
        CLUSTER
        + """
import tf_keras


def work(rank):
    strategy, made = make(1.0)
    checkpoint, store = tf.train.Checkpoint(**made), tfp.ModelStore("run")
    store.save(checkpoint, 1)
    train(strategy, made, rank)
    own = together.write_part

    def full(*arguments, **options):
        raise tfp.StorageError("the disk is full")

    together.write_part = full if rank else own
    fails(tfp.TFPersistError, "the disk is full", lambda: store.save(checkpoint, 2))
    together.write_part = own
    if not rank:
        made["n"].values[0].assign(9)
    fails(tfp.SaveError, "not at one step", lambda: store.save(checkpoint, 3))
    made["n"].values[0].assign(5)
    leave = workers.Workers.leave
    if rank:
        workers.PATIENCE = 5.0
        fails(tfp.SaveError, "could not finish the checkpoint: it does not answer",
              lambda: store.save(checkpoint, 4))
    else:
        workers.Workers.leave = lambda self, name, text: (
            None if name.startswith("done/") else leave(self, name, text))
        store.save(checkpoint, 4)
        workers.Workers.leave = leave
    store.restore(checkpoint)
    workers.PATIENCE = 5.0
    if rank:
        together.write_part = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
    fails(tfp.TargetError, "worker 1 did not save its part", lambda: store.save(checkpoint, 5))
    fails(tfp.TargetError, "worker 1 did not come", lambda: store.restore(checkpoint))


assert cluster(2, work) == [0, signal.SIGKILL]
assert [checkpoint.step for checkpoint in tfp.ModelStore("run").checkpoints()] == [1, 4]
assert tfp.ModelStore("run").verify().ok


def fit(epochs):
    def work(rank):
        with tf.distribute.MultiWorkerMirroredStrategy().scope():
            model = tf_keras.Sequential([
                tf_keras.layers.Input((4,)), tf_keras.layers.BatchNormalization(),
                tf_keras.layers.Dense(1),
            ])
            model.compile("adam", "mse")
        x = np.ones((16, 4), np.float32)
        data = tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(8)
        store = tfp.ModelStore("fit")
        fails(tfp.TargetError, 'resume="weights"', lambda: model.fit(
            data, verbose=0, callbacks=[store.callback()]))
        callback = store.callback(resume="weights")
        epochs_run = model.fit(data, epochs=epochs, verbose=0, callbacks=[callback]).epoch
        assert epochs_run == [epochs - 1], epochs_run

    return work


assert cluster(2, fit(1)) == [0, 0]
assert cluster(2, fit(2)) == [0, 0]
"""
    )


def test_the_shards_of_a_parameter_server_are_one_tensor(fresh):
    fresh(
        """
import os, signal, socket

import numpy as np
import tensorflow as tf

import tfpersist as tfp

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
ps, other_ps, worker = (f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
for one in sockets:
    one.close()
cluster = tf.train.ClusterSpec({"ps": [ps, other_ps], "worker": [worker]})
servers = []
for job, task in (("ps", 0), ("ps", 1), ("worker", 0)):
    servers.append(os.fork())
    if not servers[-1]:
        signal.alarm(200)
        tf.distribute.Server(cluster, job_name=job, task_index=task).join()
NUMBERS = np.arange(10, dtype=np.float32).reshape(5, 2)


def make(shards, factor):
    partitioner = tf.distribute.experimental.partitioners.FixedShardsPartitioner(shards)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    strategy = tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=partitioner)
    with strategy.scope():
        return {"table": tf.Variable(NUMBERS * factor), "bias": tf.Variable(2.0 * factor)}


def held(made):
    return [tf.convert_to_tensor(made[key]).numpy().tolist() for key in ("table", "bias")]


try:
    old = make(2, 1.0)
    assert len({shard.device for shard in old["table"].variables}) == 2
    tfp.ModelStore("ours").save(old, 1)
    tf.train.Checkpoint(**old).write("theirs/model.ckpt-1")
    key = "table/.ATTRIBUTES/VARIABLE_VALUE"
    reader = tf.train.load_checkpoint("ours/model.ckpt-1")
    assert reader.get_tensor(key).tolist() == NUMBERS.tolist()
    for shards in (2, 3):
        for directory in ("ours", "theirs"):
            new = make(shards, 0.0)
            tfp.ModelStore(directory).restore(tf.train.Checkpoint(**new))
            assert held(new) == [NUMBERS.tolist(), 2.0]
    new = make(2, 0.0)
    tf.train.Checkpoint(**new).read("ours/model.ckpt-1").assert_consumed()
    assert held(new) == [NUMBERS.tolist(), 2.0]
    # Nothing is assigned if one does not fit.
    new = make(2, 0.0)
    new["bias"] = tf.Variable([0.0, 0.0])
    try:
        tfp.ModelStore("ours").restore(new)
    except tfp.RestoreError:
        assert held(new) == [np.zeros((5, 2)).tolist(), [0.0, 0.0]]
    else:
        raise AssertionError("restored")
finally:
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
os._exit(0)
"""
    )
