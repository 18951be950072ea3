"""Pools against clusters that are small enough to fill by hand, and never more than any cluster has."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.run.config import Pool, ResourceOptions
from pipeline.run.pool_sizes import Node, PoolSizes, size_pools

GPU = ResourceOptions(
    plan_cpus=0.1,
    reader=Pool(actors="auto"),
    prompter=Pool(actors="auto", gpus=0.7),
    segmenter=Pool(actors="auto", gpus=0.3),
)
MANY = 10_000


def test_every_gpu_gets_a_pair_and_readers_take_the_cpus_that_are_left() -> None:
    """8 CPUs: 4 pairs would take all of them, and 3 leave one reader, who feeds two; 2 pairs leave 3.9."""
    assert size_pools(GPU, [Node(cpus=8, gpus=2)] * 2, n_blocks=MANY) == PoolSizes(
        reader=7, prompter=4, segmenter=4, pairs=4
    )
    assert size_pools(GPU, [Node(cpus=8, gpus=4)], n_blocks=MANY) == PoolSizes(
        reader=3, prompter=2, segmenter=2, pairs=2
    )


def test_readers_are_at_most_four_per_pair() -> None:
    sizes = size_pools(GPU, [Node(cpus=64, gpus=1)], n_blocks=MANY)
    assert (sizes.reader, sizes.prompter) == (4, 1)


def test_a_node_without_gpus_takes_readers_alone() -> None:
    sizes = size_pools(GPU, [Node(cpus=3, gpus=1), Node(cpus=2)], n_blocks=MANY)
    assert sizes == PoolSizes(reader=2, prompter=1, segmenter=1, pairs=1)


def test_pairs_that_take_half_a_gpu_share_it_and_tensor_parallel_ones_take_several() -> None:
    half = ResourceOptions(
        reader=Pool(actors="auto"),
        prompter=Pool(actors="auto", gpus=0.35),
        segmenter=Pool(actors="auto", gpus=0.15),
    )
    assert size_pools(half, [Node(cpus=40, gpus=3)], n_blocks=MANY).pairs == 6
    wide = ResourceOptions(
        reader=Pool(actors="auto"),
        prompter=Pool(actors="auto", gpus=2),
        segmenter=Pool(actors="auto", gpus=0.3),
    )
    assert size_pools(wide, [Node(cpus=40, gpus=8)], n_blocks=MANY).pairs == 2


def test_on_cpus_alone_pairs_leave_room_for_those_who_feed_them() -> None:
    """15.9 CPUs hold 10 pairs of 1.5, and then 3 readers of 0.3, who feed six; 9 pairs leave room for 8."""
    cpu = ResourceOptions(
        reader=Pool(actors="auto", cpus=0.3),
        prompter=Pool(actors="auto", cpus=0.9),
        segmenter=Pool(actors="auto", cpus=0.6),
    )
    assert size_pools(cpu, [Node(cpus=16)], n_blocks=MANY) == PoolSizes(reader=8, prompter=9, segmenter=9)
    assert size_pools(cpu, [Node(cpus=2)], n_blocks=MANY) == PoolSizes(reader=1, prompter=1, segmenter=1)


def test_no_pool_has_more_actors_than_there_are_blocks() -> None:
    sizes = size_pools(GPU, [Node(cpus=64, gpus=8)] * 4, n_blocks=3)
    assert sizes == PoolSizes(reader=3, prompter=3, segmenter=3, pairs=3)


def test_numbers_that_are_given_are_kept() -> None:
    given_prompters = ResourceOptions(
        reader=Pool(actors=5), prompter=Pool(actors=2, gpus=1), segmenter=Pool(actors="auto", gpus=0.5)
    )
    sizes = size_pools(given_prompters, [Node(cpus=30, gpus=4)], n_blocks=MANY)
    assert sizes == PoolSizes(reader=5, prompter=2, segmenter=2)
    assert size_pools(ResourceOptions(), [Node(cpus=2)], n_blocks=1) == PoolSizes(
        reader=1, prompter=1, segmenter=1
    )


def test_what_has_no_room_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        InputError, match=r"no room for a prompter and a segmenter \(2 CPUs and 1 GPUs\)"
    ) as told:
        size_pools(GPU, [Node(cpus=8)], n_blocks=MANY)
    assert "1 node: 8 CPUs and 0 GPUs" in str(told.value)
    with pytest.raises(InputError, match=r"need 9.1 CPUs, more than the cluster has"):
        size_pools(
            ResourceOptions(
                reader=Pool(actors=6), prompter=Pool(actors=3, cpus=0.833333), segmenter=Pool(cpus=0.5)
            ),
            [Node(cpus=8)],
            n_blocks=MANY,
        )
    scattered = ResourceOptions(prompter=Pool(cpus=4), segmenter=Pool(cpus=0.5))
    with pytest.raises(InputError, match="no room for one of the 1 prompters"):
        size_pools(scattered, [Node(cpus=3)] * 2, n_blocks=MANY)
    with pytest.raises(InputError, match="no node with CPUs"):
        size_pools(
            ResourceOptions(
                plan_cpus=0, reader=Pool(actors="auto"), prompter=Pool(cpus=0), segmenter=Pool(cpus=0)
            ),
            [],
            n_blocks=1,
        )


@given(
    nodes=st.lists(st.builds(Node, cpus=st.integers(1, 96), gpus=st.integers(0, 8)), min_size=1, max_size=12),
    n_blocks=st.integers(1, 400),
    shares=st.sampled_from([(0.7, 0.3), (0.5, 0.25), (1.0, 0.0), (0.35, 0.15), (0.6, 0.6)]),
    cpus=st.tuples(*[st.sampled_from([0.3, 0.5, 1.0, 2.0])] * 3),
)
def test_what_is_settled_fits_and_nothing_more_would(
    nodes: list[Node], n_blocks: int, shares: tuple[float, float], cpus: tuple[float, float, float]
) -> None:
    """Judged by counting: what a node holds follows from its own CPUs and GPUs alone."""
    options = ResourceOptions(
        plan_cpus=0.0,
        reader=Pool(actors="auto", cpus=cpus[0]),
        prompter=Pool(actors="auto", cpus=cpus[1], gpus=shares[0]),
        segmenter=Pool(actors="auto", cpus=cpus[2], gpus=shares[1]),
    )
    share = sum(shares)
    per_node = [
        min(
            math.floor(node.cpus / (cpus[1] + cpus[2]) + 1e-9),
            node.gpus // 2 if share > 1 else int(node.gpus) * math.floor(1 / share + 1e-9),
        )
        for node in nodes
    ]
    try:
        sizes = size_pools(options, nodes, n_blocks=n_blocks)
    except InputError:
        whole = sum(math.floor(node.cpus / cpus[0] + 1e-9) for node in nodes)
        assert sum(per_node) == 0 or whole < 1 + math.ceil((cpus[1] + cpus[2]) / cpus[0])
        return
    assert 1 <= sizes.prompter == sizes.segmenter <= min(sum(per_node), n_blocks)
    need = sizes.reader * cpus[0] + sizes.prompter * (cpus[1] + cpus[2])
    assert need <= sum(node.cpus for node in nodes) + 1e-6
    assert 1 <= sizes.reader <= min(4 * sizes.prompter, n_blocks)
    fed = sizes.reader >= min(math.ceil(sizes.prompter / 2), n_blocks)
    assert fed or sizes.prompter == 1
    if sizes.prompter < min(sum(per_node), n_blocks):
        left = sum(node.cpus for node in nodes) - (sizes.prompter + 1) * (cpus[1] + cpus[2])
        assert math.floor(left / cpus[0]) < math.ceil((sizes.prompter + 1) / 2) + len(nodes)
