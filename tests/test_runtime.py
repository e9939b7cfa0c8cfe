import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from edgewise import runtime

# One process forks two, which meet through a file: torch is imported once, and no port is taken.
WORKER = """
import json, os, sys, numpy as np, torch, torch.distributed as dist
from edgewise import runtime
from edgewise.errors import LostProcessError

def member(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    given = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T * (1 + 2 * rank)
    said = {
        "who": [runtime.rank(), runtime.world_size(), runtime.is_main()],
        "total": runtime.total(given).tolist(),
        "from_main": runtime.from_main(given).tolist(),
        "given": given.tolist(),
        "number": runtime.number_from_main(7 - rank),
        "largest": runtime.largest(3 + rank),
        "text": runtime.text_from_main(["größer", "smaller"][rank]),
        "gather": [one.tolist() for one in runtime.gather(torch.arange(3 - 3 * rank)[:, None])],
    }
    arrays = [np.arange(2.0) + rank, np.zeros(0), np.full(2 * rank, 0.1)]
    said["joined"] = [one.tolist() for one in runtime.joined(arrays)]
    with runtime.main_only() as mine:
        if mine:
            open(f"{folder}/made", "x").close()
    said["made"] = os.path.exists(f"{folder}/made")
    runtime.total(torch.zeros(1))  # which waits for the other
    try:
        with runtime.main_only() as mine:
            if mine:
                raise KeyError("what")
    except (KeyError, LostProcessError) as error:
        said["raised"] = type(error).__name__
    json.dump(said, open(f"{folder}/{rank}.json", "w"))

children = []
for rank in range(2):
    children.append(os.fork())
    if children[-1] == 0:
        member(rank, sys.argv[1])
        os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""


def test_one_process_is_the_identity():
    tensor = torch.randn(3)
    assert (runtime.rank(), runtime.world_size(), runtime.is_main()) == (0, 1, True)
    assert runtime.total(tensor) is runtime.from_main(tensor) is tensor
    assert runtime.gather(tensor) == (tensor,)
    array = np.arange(3)
    assert runtime.joined([array])[0] is array
    assert (runtime.largest(5), runtime.number_from_main(6)) == (5, 6)
    assert runtime.text_from_main("x") == "x"
    with runtime.main_only() as mine:
        assert mine


def test_nobody_is_met_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with runtime.connected("cpu"):
        assert runtime.world_size() == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with runtime.connected("cpu"):
        assert runtime.world_size() == 1


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_two_processes(tmp_path):
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    main, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (main["who"], other["who"]) == ([0, 2, True], [1, 2, False])
    assert (main["given"], other["given"]) == ([[1, 3], [2, 4]], [[3, 9], [6, 12]])
    assert (main["raised"], other["raised"]) == ("KeyError", "LostProcessError")
    for said in (main, other):
        assert said["total"] == [[4, 12], [8, 16]]
        assert said["from_main"] == [[1, 3], [2, 4]]
        assert (said["number"], said["largest"], said["text"]) == (7, 4, "größer")
        assert said["gather"] == [[[0], [1], [2]], []]
        assert said["joined"] == [[0, 1, 1, 2], [], [0.1, 0.1]]
        assert said["made"]
