"""Make a run folder out of a classifier that was trained elsewhere."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, asked, call, given_values


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.adopting.reading import PIXEL_SETTINGS
    from looksharp.adopting.settings import AdoptSettings
    from looksharp.cli.commands.train import named_data
    from looksharp.data.build import DataConfig
    from looksharp.data.registry import DATA_SETS
    from looksharp.networks.backbones.source import NETWORK_SOURCES
    from looksharp.settings import settings_of

    parser.description = (
        f"{parser.description} It prints what it understood of the model, and the model's accuracy on the data, by "
        f"which a wrong order of the classes shows. Sources of models: {', '.join(sorted(NETWORK_SOURCES))}."
    )
    add_flags(parser, AdoptSettings, positional=("model",))
    pixels = set(PIXEL_SETTINGS.values()) - {"range"}
    title = f"images to compare the model's answers with; sets: {', '.join(sorted(DATA_SETS))}"
    add_flags(parser, DataConfig, without=("settings", *pixels), title=title, defaults=False)
    others = settings_of(DataConfig).keys() - pixels
    title = "from images to the model's input; the model's own configuration says what is not given"
    add_flags(parser, DataConfig, without=others, title=title, defaults=False)
    for name, source, without in named_data(asked(given, "data")["data"] or ""):
        add_flags(parser, source, below=name, without=without, title=f"settings of {name}")


def _run(flags: Namespace) -> None:
    from looksharp.adopting import AdoptSettings, adopt_model
    from looksharp.adopting.reading import PIXEL_SETTINGS
    from looksharp.settings import SettingError, settings_of
    from looksharp.training.settings import RunConfig

    chosen = call(AdoptSettings, flags)
    if chosen.out is None:
        raise SettingError("out must name the run folder to write: --out RUN")
    values = given_values(flags, without=settings_of(AdoptSettings))
    for name in ("mean", "std"):
        if len(values.get(name, ())) == 1:  # one number for the three channels
            values[name] = values[name] * 3
    checked = RunConfig.from_flat(values).data
    pixels = {name: getattr(checked, name) for name in PIXEL_SETTINGS.values() if name in values}
    images = {name: value for name, value in values.items() if name == "range" or name not in pixels}
    data = RunConfig.from_flat(images).data if "data" in images else None
    found = adopt_model(chosen, data, pixels)
    print("\n".join(found.said))
    if found.hint:
        print(f"looksharp: warning: {found.hint}", file=sys.stderr)
    print(f"{chosen.out} is a run folder: looksharp evaluate, explain, suspects, cure and compare read it.")


COMMANDS.add(
    "adopt",
    Command("Make a run folder out of a classifier that was trained elsewhere.", _add_flags, _run, place=1),
)
