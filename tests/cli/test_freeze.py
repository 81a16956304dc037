"""The file and the output of `tfpersist freeze`."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.compat import v1

import tfpersist
from tfpersist import cli


def test_freeze_writes_a_graph(golden, tmp_path, capsys):
    source = golden / "1.15.5" / "plain_v2.ckpt"
    target = tmp_path / "plain.pb"
    assert cli.main(["freeze", str(source), str(target), "output"]) == 0
    frozen = capsys.readouterr().out
    assert cli.main(["inspect", str(target)]) == 0
    assert capsys.readouterr().out == frozen
    assert frozen.splitlines()[0] == str(target)
    assert "output:0" in frozen


def test_freeze_keeps_variables(tmp_path, capsys):
    graph = tf.Graph()
    with graph.as_default():
        weight = v1.get_variable("weight", initializer=[2.0])
        count = v1.get_variable("count", initializer=[3.0])
        tf.add(weight, count, name="sum")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            tfpersist.ModelStore(tmp_path / "run").save(session)
    target = str(tmp_path / "net.pb")
    arguments = ["freeze", str(tmp_path / "run"), target, "sum", "--keep", "count"]
    assert cli.main(arguments) == 0
    assert "VarHandleOp 1" in capsys.readouterr().out
    assert tfpersist.FrozenModel.load(target).run("sum") == [5]
    assert cli.main([*arguments[:-1], "cuont"]) == 2
    assert "'count'" in capsys.readouterr().err
