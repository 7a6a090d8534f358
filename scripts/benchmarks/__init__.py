"""What `python scripts/benchmark.py` and `benchmark_faces.py` measure, with whom and how.

  cases.py        the cases and their metrics, how much is measured, who takes part
  network.py      the network's weights for all, its arithmetic, and a NumPy reference
  peer_*.py       how each peer predicts and trains
  worker.py       a measurement, in a process of its own
  processes.py    a process, its time and its peak memory
  run.py          the order of the measurements, and what becomes of them
  figures.py      medians, ratios, shares, and the Markdown table
  machine.py      what is measured on
  plot.py         the picture
  face_*.py       the photographs of benchmark_faces.py, and one pipeline on them in a process
  arguments.py    what the command lines share

Everything but the peers, the network, the photographs and the plot needs the standard library
alone: the process that starts the others stays small, since a child's peak memory is counted from
its parent's size.
"""
