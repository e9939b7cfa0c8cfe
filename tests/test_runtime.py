import json
import subprocess
import sys

import torch

from edgewise import runtime

# Two processes that meet through a file: no port to be taken.
WORKER = """
import json, sys, torch, torch.distributed as dist
from edgewise import runtime
meeting, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
given = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T * (1 + 2 * rank)
mean = runtime.all_reduce_mean(given)
runtime.barrier()
print(json.dumps([runtime.rank(), runtime.world_size(), runtime.is_main(), mean.tolist(),
                  given.tolist()]))
dist.destroy_process_group()
"""


def test_one_process_is_the_identity():
    tensor = torch.randn(3)
    assert (runtime.rank(), runtime.world_size(), runtime.is_main()) == (0, 1, True)
    assert runtime.all_reduce_mean(tensor) is tensor
    runtime.barrier()


def test_two_processes_agree_on_the_mean(tmp_path):
    command = [sys.executable, "-c", WORKER, str(tmp_path / "meeting")]
    workers = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    answers = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    mean = [[2.0, 6.0], [4.0, 8.0]]
    assert answers[0] == [0, 2, True, mean, [[1.0, 3.0], [2.0, 4.0]]]
    assert answers[1] == [1, 2, False, mean, [[3.0, 9.0], [6.0, 12.0]]]
