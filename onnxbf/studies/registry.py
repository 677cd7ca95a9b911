"""Every study by name; the module of one is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from onnxbf.errors import NameUnknown
from onnxbf.spec import parse_spec
from onnxbf.studies.study import Study
from onnxbf.training.options import build

ALL = "all"
STUDIES: Mapping[str, str] = {  # name -> module:class
    "lrbench": "onnxbf.studies.lrbench:LrBench",
    "rich": "onnxbf.studies.rich_regime:RichRegime",
    "contrastive": "onnxbf.studies.contrastive:Contrastive",
    "fqt": "onnxbf.studies.fully_quantized:FullyQuantized",
    "mx": "onnxbf.studies.microscaling:Microscaling",
    "bf16": "onnxbf.studies.bf16:Bf16",
    "sixteen-bit": "onnxbf.studies.sixteen_bit:SixteenBit",
    "range": "onnxbf.studies.narrow_range:Range",
}


def study_class(name: str) -> type[Study]:
    """The study of a name.

    Raises:
        NameUnknown: there is none.
    """
    if name not in STUDIES:
        raise NameUnknown("study", name, (*STUDIES, ALL))
    module, _, made = STUDIES[name].partition(":")
    found: type[Study] = getattr(importlib.import_module(module), made)
    return found


def parse_studies(text: str) -> list[Study]:
    """``all``, or a study with its options, such as ``lrbench{recipe=fp8}``.

    Raises:
        NameUnknown, SpecError: see ``build``.
    """
    name = parse_spec(text).name
    if text == ALL:
        return [study_class(each)() for each in STUDIES]
    table: Mapping[str, Callable[..., Study]] = {name: study_class(name)}
    return [build(text, table, "study")]
