"""Variables that DTensor lays out over the devices of a mesh.

Their value is one tensor, of which each device holds a part or a copy. To read it, it is brought
to every device. A new value is laid out as the old one was.
"""

from __future__ import annotations

from typing import Any

from tfpersist.errors import TargetError


def is_dtensor(variable: Any) -> bool:
    """Return whether DTensor lays a variable out over several devices."""
    import tensorflow as tf

    return isinstance(variable, tf.experimental.dtensor.DVariable)


def refuse_several_clients(variable: Any, path: str) -> None:
    """Refuse a variable of which other processes hold a part.

    Args:
        variable: any variable.
        path: its path, for the error.

    Raises:
        TargetError: the mesh of the variable has devices of other processes.
    """
    import tensorflow as tf

    if not is_dtensor(variable):
        return
    clients = tf.experimental.dtensor.num_clients()
    if clients > 1:
        raise TargetError(
            "a variable that DTensor lays out over several processes cannot be saved or restored",
            where=path,
            expected="a mesh of the devices of one process",
            found=f"{clients} processes",
            advice="Save it with tf.train.Checkpoint; tfpersist.Checkpoint reads what that wrote.",
        )


def read(variable: Any) -> Any:
    """Return the whole value of a variable, as an eager tensor."""
    from tensorflow.experimental import dtensor

    mesh, rank = variable.layout.mesh, variable.shape.rank
    return dtensor.relayout(variable.read_value(), dtensor.Layout.replicated(mesh, rank))


def laid_out(variable: Any, value: Any) -> Any:
    """Return a value that is laid out as a variable is.

    Args:
        variable: the variable.
        value: a tensor of the shape of the whole variable.
    """
    from tensorflow.experimental import dtensor

    replicated = dtensor.Layout.replicated(variable.layout.mesh, variable.shape.rank)
    return dtensor.relayout(dtensor.copy_to_mesh(value, replicated), variable.layout)
