"""Workers: one system answered by many processes, forked from one that has loaded it.

In goes a System that is closed again, with its state in memory, and a listening socket; out come
a writer and N workers, watched and started again. Open `supervisor` first, then `process`; why it
is so is in docs/adr/0025-workers.md.
"""
