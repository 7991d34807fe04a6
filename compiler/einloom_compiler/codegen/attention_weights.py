"""Print how attention's scores become weights, a block of keys at a time.

Maxima and sums of the keys so far are kept, and sums rescaled where a maximum has grown. Names as
in :mod:`.attention_source`.
"""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.attention_writer import FunctionWriter
from einloom_compiler.codegen.scalar_source import scalar_lines


class WeightWriter(FunctionWriter):
    """Writes the functions of softmax."""

    def functions(self) -> list[str]:
        """Return those that the nest needs."""
        found = [self._weigh(is_diagonal=False)]
        if self.nest.is_causal:
            found.append(self._weigh(is_diagonal=True))
        return [*found, self._rescale()]

    def _weigh(self, *, is_diagonal: bool) -> str:
        """Return the function that makes a block of scores weights: ``exp(score - maximum)``."""
        nest, width, lanes = self.nest, self.width, self.lanes
        arguments = ["acc", "scores", "state", "n_keys", *(["ahead"] if is_diagonal else [])]
        for number, mask in enumerate(nest.masks):
            if mask.is_moved:
                arguments.append(f"moved{number}")
            else:
                arguments += [f"mask{number}", f"at{number}", f"mask{number}_s"]
                arguments += ["n_rows"] if mask.lanes == "vectors" else []
        low = self.constant("-np.inf")
        lines = [
            *(f"m{v} = vload{width}(acc, state + {v * width})" for v in self.vectors),
            *(f"top{v} = m{v}" for v in self.vectors),
        ]
        if is_diagonal:
            lines += [
                f"lane{v} = vload{width}(acc, state + {3 * lanes + v * width})"
                for v in self.vectors
            ]
        lines.append("for s in range(n_keys):")
        lines += [f"    {line}" for line in self._scored(is_diagonal=is_diagonal)]
        for v in self.vectors:
            lines += [
                "# Where all scores so far are -inf, weights must be 0, not NaN.",
                f"low{v} = vselect(top{v} == {low}, {self.constant('0')}, top{v})",
                f"scale{v} = exp_weight_{self.element}(m{v} - low{v})",
                f"sum{v} = vload{width}(acc, state + {lanes + v * width}) * scale{v}",
            ]
        lines.append("for s in range(n_keys):")
        for v in self.vectors:
            at = f"scores + s * {lanes} + {v * width}"
            lines += [
                f"    x = exp_weight_{self.element}(vload{width}(acc, {at}) - low{v})",
                f"    vstore{width}(acc, {at}, x)",
                f"    sum{v} = sum{v} + x",
            ]
        for v in self.vectors:
            lines += [
                f"vstore{width}(acc, state + {v * width}, top{v})",
                f"vstore{width}(acc, state + {lanes + v * width}, sum{v})",
                f"vstore{width}(acc, state + {2 * lanes + v * width}, scale{v})",
            ]
        scales = "scale0"
        for v in self.vectors[1:]:
            scales = f"vmin({scales}, scale{v})"
        lines.append(f"return vmin_all({scales}) < {self.constant('1')}")
        return self.function(
            "weigh_diagonal" if is_diagonal else "weigh",
            ", ".join(dict.fromkeys(arguments)),
            "Make scores weights; say whether a maximum has grown.",
            lines,
        )

    def _scored(self, *, is_diagonal: bool) -> list[str]:
        """Return the lines that finish the scores of key ``s``."""
        nest, width, lanes = self.nest, self.width, self.lanes
        lines: list[str] = []
        for number, mask in enumerate(nest.masks):
            if mask.lanes == "same":
                element = f"mask{number}[at{number} + s * mask{number}_s]"
                loaded = casts.load(element, mask.dtype, nest.compute)
                lines.append(f"y{number} = {loaded}")
        for v in self.vectors:
            at = f"scores + s * {lanes} + {v * width}"
            lines.append(f"x = vload{width}(acc, {at})")
            values, vectors = ["x"], [0]
            for number, mask in enumerate(nest.masks):
                values.append(f"y{number}")
                if mask.lanes == "same":
                    continue
                vectors.append(1 + number)
                if mask.is_moved:
                    place = f"moved{number} + s * {lanes} + {v * width}"
                    lines.append(f"y{number} = vload{width}(acc, {place})")
                else:
                    place = f"at{number} + s * mask{number}_s + {v * width}"
                    lines.append(
                        f"y{number} = vload{width}_masked(mask{number}, {place}, "
                        f"n_rows - {v * width})"
                    )
            text = scalar_lines(nest.score, values, self.element, "t", vectors)
            lines += text.lines
            result = text.result if text.is_vector else f"vset{width}({text.result})"
            if is_diagonal:
                key = f"{self.constant('s - ahead')}"
                result = f"vselect(lane{v} >= {key}, {result}, {self.constant('-np.inf')})"
            lines += [
                f"x = {result}",
                f"vstore{width}(acc, {at}, x)",
                f"top{v} = vmax(top{v}, x)",
            ]
        return lines

    def _rescale(self) -> str:
        width, lanes = self.width, self.lanes
        lines = [
            f"scale{v} = vload{width}(acc, state + {2 * lanes + v * width})" for v in self.vectors
        ]
        lines.append(f"for at in range(sums, sums + n * {lanes}, {lanes}):")
        for v in self.vectors:
            at = f"at + {v * width}" if v else "at"
            lines.append(f"    vstore{width}(acc, {at}, vload{width}(acc, {at}) * scale{v})")
        return self.function(
            "rescale", "acc, sums, state, n", "Make sums relative to grown maxima.", lines
        )
