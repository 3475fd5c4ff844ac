# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The smallest random graph that still fails: upstream's reducer does not know how a model shrinks.

Input:  a seed of random_graphs.py, and what tells of a graph whether it fails.
Output: the seed's decisions that are cut, and the graph that it gives with them.
Holds:  it fails, and it does not with any one of its decisions simpler: a branch, a linear, a bias,
        a shift or salient weights left out, a size or the workers or tokens of a step half as many
        or one fewer. What is left has the digits that it has in the whole graph, as far as it goes.
"""

from random_graphs import makeGraph


def simpler(value, least):
    """What may stand for a decision, the simplest first."""
    if isinstance(value, bool):
        return [False] if value else []
    return sorted(simple for simple in {least, value // 2, value - 1} if least <= simple < value)


def shrink(seed, folder, fails):
    """fails(graph) looks at what is in the folder, which has the smallest graph in the end."""
    cut, graph = {}, makeGraph(seed, folder)
    before = None
    while cut != before:
        before = dict(cut)
        for name in list(graph.decisions):
            # What an earlier cut leaves out has no decisions. What has become simpler may become more so.
            while name in graph.decisions:
                attempts = [cut | {name: value} for value in simpler(graph.decisions[name], graph.least[name])]
                made = ((attempt, makeGraph(seed, folder, attempt)) for attempt in attempts)
                smaller = next(((attempt, found) for attempt, found in made if fails(found)), None)
                if not smaller:
                    break
                cut, graph = smaller
    cut = {name: value for name, value in cut.items() if name in graph.decisions}
    return cut, makeGraph(seed, folder, cut)
