"""Table of the sections with a choice of class by name; the schema's unions and the errors follow from it."""

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
    """A section whose class, and so its settings, depends on one of its settings.

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
        """The option used when none is set."""
        return next(iter(self.options))

    @property
    def union(self) -> Any:
        """The type of the section: any one of the options, identified by its tag."""
        options = tuple(self.options.values())
        return Annotated[Union[options], Field(discriminator=self.tag)] if len(options) > 1 else options[0]  # noqa: UP007

    def having(self, key: str) -> list[str]:
        """The options that have a setting named ``key``."""
        return [name for name, section in self.options.items() if key in section.model_fields]


def _options(base: type[Section], tag: str) -> Iterator[tuple[str, type[Section]]]:
    """Subclasses of a base that can be chosen: those with a default for their tag."""
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
