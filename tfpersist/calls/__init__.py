"""What all engines share: the protocol of an executor, bound calls, and what a fork leaves."""
