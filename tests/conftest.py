"""For all tests: one thread, as a stage on one CPU has, and as fast where several processes share the cores."""

import torch

torch.set_num_threads(1)
