"""Processes: one training on several, each with its share of every batch, as torchrun begins them.

All of them read the same data and draw the same batches and negatives; each learns from every
`count`-th window of a batch, against the negatives of the whole batch. The sum of what they learn
is what one process would, so how many there are changes nothing but the order of summation
(and, where there is dropout, what is dropped).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many processes this one is; the first writes and measures."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Processes":
        """As torch.distributed was set up; one process where it was not."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and measures."""
        return self.rank == 0

    def part(self) -> slice:
        """Rows of a batch that are this process's own."""
        return slice(self.rank, None, self.count)

    def device(self, kind: str) -> torch.device:
        """Where this process computes: on a machine with several GPUs each has its own."""
        return torch.device(kind, _local_rank()) if kind == "cuda" else torch.device(kind)

    def summed(self, value: float, device: torch.device) -> float:
        """The sum over all processes."""
        if self.count == 1:
            return value
        whole = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(whole)
        return whole.item()

    def as_first(self, value: float, device: torch.device) -> float:
        """What the first of them holds, in all."""
        if self.count == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.broadcast(told, src=0)
        return told.item()

    def greatest(self, values: Tensor) -> Tensor:
        """The greatest over all processes of each value; written into `values`."""
        if self.count > 1:
            distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
        return values


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun began, if it did; leave them at the end.

    Each computes on as many threads as OMP_NUM_THREADS says, else on one, so that results repeat.

    Args:
        device: "cpu", where they speak by gloo, or "cuda", by nccl.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if device == "cuda":
        torch.cuda.set_device(_local_rank())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Processes.here()
        distributed.barrier()  # nobody leaves while another still speaks to them
    finally:
        distributed.destroy_process_group()


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))
