"""The graph that stages and their ancestors form."""

from collections.abc import Iterable, Iterator

from study.stages.stage import Stage


class StageGraph:
    """Stages and all their ancestors. Each identity is there once, with the first label it came with. It may grow."""

    def __init__(self, stages: Iterable[Stage] = ()) -> None:
        self._stages: dict[str, Stage] = {}
        self.add(stages)

    def add(self, stages: Iterable[Stage]) -> list[Stage]:
        """Adds stages with their ancestors; returns those that are new, parents first."""
        new: list[Stage] = []
        for stage in stages:
            self._add(stage, new)
        return new

    def _add(self, stage: Stage, new: list[Stage]) -> None:
        if stage.identity in self._stages:
            return
        for parent in stage.parents.values():
            self._add(parent, new)
        self._stages[stage.identity] = stage
        new.append(stage)

    def __getitem__(self, identity: str) -> Stage:
        return self._stages[identity]

    def __contains__(self, identity: object) -> bool:
        return identity in self._stages

    def __iter__(self) -> Iterator[Stage]:
        """Every stage after its parents, otherwise in the order given."""
        return iter(self._stages.values())

    def __len__(self) -> int:
        return len(self._stages)

    @property
    def identities(self) -> list[str]:
        return list(self._stages)

    def descendants(self, identity: str) -> list[str]:
        """Identities of all stages that need this one, directly or not, each once and after its parents."""
        found = {identity}
        for stage in self:
            if any(parent.identity in found for parent in stage.parents.values()):
                found.add(stage.identity)
        return [other for other in self._stages if other in found and other != identity]
