"""Refuse to compute in a process that was forked after TensorFlow had started its threads.

This concerns new sessions of the child too, since all sessions of a process share the threads; and
it concerns calls that compute in the calling thread, as soon as an operation is large. A session
that other code opened before the fork is not noticed here.
"""

from __future__ import annotations

from tfpersist.calls.forks import Threads
from tfpersist.tf.internals.eager import has_context

threads = Threads("TensorFlow", has_context)
