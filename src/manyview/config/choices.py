"""The sections that are a choice by name, in one table, from which the schema's unions and the errors follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union

from pydantic import Field

from manyview.config.methods import MethodSection
from manyview.config.section import Section
from manyview.config.training import TrainingConfig
from manyview.config.views import ViewsSection


@dataclass(frozen=True)
class Choice:
    """A section whose settings depend on one of them.

    Attributes:
        section: its name, such as "views".
        tag: the setting that chooses, such as "kind".
        options: the sections to choose from, by the value of ``tag``; the first is the default.
    """

    section: str
    tag: str
    options: Mapping[str, type[Section]]

    @property
    def key(self) -> str:
        """The dotted key of the setting that chooses."""
        return f"{self.section}.{self.tag}"

    @property
    def default(self) -> str:
        """What is chosen where nobody chooses."""
        return next(iter(self.options))

    @property
    def union(self) -> Any:
        """The type of the section: any one of the options, told by its tag."""
        options = tuple(self.options.values())
        return Annotated[Union[options], Field(discriminator=self.tag)] if len(options) > 1 else options[0]  # noqa: UP007

    def having(self, key: str) -> list[str]:
        """The options that have a setting of that name."""
        return [name for name, section in self.options.items() if key in section.model_fields]

    def of(self, section: object) -> str:
        """Which option a section is."""
        return str(getattr(section, self.tag))


def _options(base: type[Section], tag: str) -> Iterator[tuple[str, type[Section]]]:
    """The classes below a base that can be chosen: those with a default for their tag."""
    for section in base.__subclasses__():
        if isinstance(section.model_fields[tag].default, str):
            yield section.model_fields[tag].default, section
        yield from _options(section, tag)


CHOICES = {
    section: Choice(section, tag, dict(_options(base, tag)))
    for section, tag, base in (
        ("views", "kind", ViewsSection),
        ("method", "name", MethodSection),
        ("training", "optimizer", TrainingConfig),
    )
}
"""By the section's name."""
