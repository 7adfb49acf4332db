"""`freshet check`: what a model file says, read back."""

from __future__ import annotations

import click

from streams.cli.options import model_argument


@click.command()
@model_argument
def command(model_file: str) -> None:
    """Load a model file and print what it says; mistakes are named with their line. Needs no broker.

    \b
      freshet check examples/purchase_propensity.py
    """
    from learners import load_model
    from learners.onnx_export import to_onnx

    model = load_model(model_file)
    spec = model.spec
    onnx = to_onnx(model.new_learner(), spec.numbers, spec.categories, name=spec.name, version=0).SerializeToString()
    click.echo(f"model       {spec.name}")
    click.echo(f"applies to  {', '.join(spec.applies_to)}")
    click.echo(f"outcome     {spec.outcome} within {spec.within_ms / 60_000:g} minutes")
    click.echo(
        f"lateness    {spec.lateness_ms / 1000:g} s; a visitor is remembered {spec.remembers_ms / 86_400_000:g} days"
    )
    click.echo(f"release     every {model.release.interval_ms / 1000:g} s; untrained, its graph has {len(onnx)} bytes")
    click.echo("features")
    for feature in spec.features:
        click.echo(f"  {'category' if feature.name in spec.categories else 'number':<9} {feature.name}")
