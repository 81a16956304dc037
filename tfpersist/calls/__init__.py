"""The parts that all engines share: the protocol of an executor, bound calls, forks."""
