"""What `python scripts/benchmark.py` and the other benchmarks measure, with whom and how.

  cases.py        the cases and their metrics, how much is measured, who takes part
  network.py      the network's weights for all, its arithmetic, and a NumPy reference
  peer_*.py       how each peer predicts and trains
  worker.py       a measurement, in a process of its own
  processes.py    a process, its time and its peak memory
  run.py          the order of the measurements, and what becomes of them
  rounds.py       who takes turns with whom, how often, and beside which earlier ferjax
  parts.py        the parts of the suite, and running one
  comparison.py   one table of all parts: before, now, the best peer, the limit
  figures.py      medians, ratios, shares, and the Markdown table
  machine.py      what is measured on
  plot.py         the picture
  face_*.py       the photographs of benchmark_faces.py, and one pipeline on them in a process
  by_hand.py      the same by the bare libraries, which is the limit; bare_server.py serves it
  gpu_tasks.py    what benchmark_gpu.py measures; traces.py: idle time and gaps of a profile
  arguments.py    what the command lines share

Everything but the peers, the network, the photographs and the plot needs the standard library
alone: the process that starts the others stays small, since a child's peak memory is counted from
its parent's size.
"""
