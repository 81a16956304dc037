"""Row 6: restore 0.5 GB into a TF1 session.

python benchmarks/restore_session.py [--rounds 9] [--megabytes 512]
"""

from __future__ import annotations

import harness
import models

CONTENDERS = ("tfpersist", "Saver.restore")


def main():
    options = harness.arguments(megabytes=512)
    import tfpersist as tfp

    with harness.folder(options.folder) as base:
        session, saver = models.session(models.arrays(options.megabytes))
        store = tfp.ModelStore(base)
        store.save(session)

        def theirs():
            with session.graph.as_default():
                saver.restore(session, str(base / "model.ckpt"))

        restores = {"tfpersist": lambda: store.restore(session), "Saver.restore": theirs}
        if options.alone:
            harness.weigh(restores[options.alone])
            return
        seconds = harness.alternate(restores, options.rounds)
        harness.report(
            "restore_session",
            f"Restore {options.megabytes} MB into a TF1 session",
            seconds,
            against={"Saver.restore": 1.4},
            megabytes=harness.memory(__file__, CONTENDERS, "--megabytes", options.megabytes),
        )


if __name__ == "__main__":
    main()
