"""The processes of SLURM's srun, by the variables that it sets in them."""

from __future__ import annotations

import os

import pytest
import torch

from manyview.errors import UserError
from manyview.runtime import local_process_count, process_count, resolve_device, torchrun_variables

# Of the fourth task of "srun --nodes 2 --ntasks-per-node 2", as in a shell on the second node.
TASK = {
    "SLURM_JOB_ID": "200505",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gnode[10,20]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
OURS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("task")
def test_a_task_is_one_of_its_steps_processes() -> None:
    assert (local_process_count(), process_count()) == (2, 4)
    found = {name: os.environ[name] for name in OURS}
    assert 15_000 <= int(found.pop("MASTER_PORT")) < 30_000
    assert found == {
        **{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"},
        "MASTER_ADDR": "gnode10",
    }


@pytest.mark.usefixtures("task")
def test_its_device_is_that_of_its_rank_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(resolve_device("auto")) == "cuda:1"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gnode[10,20,25,37]", "gnode10"),
        ("node[07-09,12]", "node07"),
        ("a3", "a3"),
        ("a3,b[1-2]", "a3"),
        ("rack1-node[003-004]", "rack1-node003"),
        ("login-1,login-2", "login-1"),
    ],
)
def test_the_first_node_is_where_they_meet(nodes: str, first: str) -> None:
    assert torchrun_variables({**TASK, "SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == first


def test_steps_meet_at_ports_of_their_own_and_the_users_address_counts() -> None:
    ports = {torchrun_variables({**TASK, "SLURM_STEP_ID": str(step)})["MASTER_PORT"] for step in range(5)}
    assert len(ports) == 5
    found = torchrun_variables({**TASK, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("10.0.0.1", "1234")


def test_a_task_that_sees_only_its_gpu_is_a_node_of_its_own() -> None:
    found = torchrun_variables({**TASK, "SLURM_GPUS_PER_TASK": "1"})
    assert (found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"], found["GROUP_RANK"]) == ("0", "1", "3")


def test_uneven_nodes_are_refused() -> None:
    with pytest.raises(UserError, match=r"different numbers of tasks on the nodes \(3\(x2\),2\): use --ntasks-per"):
        torchrun_variables({**TASK, "SLURM_STEP_TASKS_PER_NODE": "3(x2),2"})


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(
    ("variables", "counts"),
    [
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (8, 4)),  # torchrun within srun
        ({"WORLD_SIZE": "8"}, (8, 8)),  # a launcher that does not say how many are on a machine
        ({"SLURM_STEP_NUM_TASKS": None}, (1, 1)),  # a batch script without srun
        ({"SLURM_STEP_NUM_TASKS": "1"}, (1, 1)),
    ],
)
def test_what_else_starts_processes(
    variables: dict[str, str | None], counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    assert (process_count(), local_process_count()) == counts
    assert "RANK" not in os.environ
