"""What the JSON of a model says: its layers, where they stand in it, and its outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ferjax.errors import printable
from ferjax.keras.nesting import ModelTree
from ferjax.nets.graph import Graph
from ferjax.problems import Problem


@dataclass(frozen=True)
class Output:
    """One of a model's outputs: its name, which call gives it, its shape without the batch."""

    name: str
    position: int
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{printable(self.name, 100)!r} {self.shape}"


@dataclass
class Architecture:
    """What a model's JSON says.

    Attributes:
        graph: every layer of the model; its last call need not be an output.
        layout: where the layers stand in the model.
        notes: what was left out.
        outputs: in the file's order.
    """

    graph: Graph
    layout: ModelTree
    notes: list[str] = field(default_factory=list)
    outputs: tuple[Output, ...] = ()

    def chosen(self, output: str | int | None = None) -> Graph:
        """Return the part of the graph that leads to one output.

        Args:
            output: its name or its layer's, or its number from 0, also as text; None: the only
                one.

        Raises:
            Problem: there is no such output, or none is named and there are several.
        """
        if not self.outputs:
            return self.graph
        listed = ", ".join(f"{number}: {output}" for number, output in enumerate(self.outputs))
        if output is None:
            if len(self.outputs) > 1:
                raise Problem(
                    f"{len(self.outputs)} outputs, expected the choice of one (output=, --output; "
                    f"`ferjax convert` keeps one) among {listed}"
                )
            return self.graph.leading_to(self.outputs[0].position)
        matches = [end for end in self.outputs if end.name == output] or [
            end for end in self.outputs if self.graph.calls[end.position].layer == output
        ]
        number = output if isinstance(output, int) and not isinstance(output, bool) else -1
        if isinstance(output, str) and output.isascii() and output.isdigit() and len(output) < 9:
            number = int(output)
        if not matches and 0 <= number < len(self.outputs):
            matches = [self.outputs[number]]
        if len(matches) != 1:
            expected = "an output" if not matches else "the number of an output"
            raise Problem(f"expected {expected} among {listed}, got {printable(repr(output), 80)}")
        return self.graph.leading_to(matches[0].position)
