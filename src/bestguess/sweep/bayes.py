"""The next runs of a bayes sweep: Optuna's TPE, told of everything that the ledger holds."""

from __future__ import annotations

import math
from typing import Any

from bestguess.command import UserError
from bestguess.files import read_text
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import plan_round
from bestguess.sweep.spec import Parameter, Spec, flatten, parse_spec


def propose(ledger: Ledger) -> bool:
    """Add a round of new runs to a bayes sweep; False where the sweep is of another kind, or has all its runs.

    The study is made anew from the ledger: no state of its own can be lost, and any worker can propose.
    """
    if ledger.about["method"] != "bayes":
        return False
    rounds = ledger.rounds()
    drawn = sum(len(round_.runs) for round_ in rounds)
    count = min(int(ledger.about["ensemble"]), ledger.planned - drawn)
    if count <= 0:
        return False
    spec = spec_of(ledger)
    told = [(run.config, _value(ledger, run.run, spec)) for round_ in rounds for run in round_.runs]
    proposals = suggest(spec, told, count, seed=int(ledger.about["seed"]) + len(rounds))
    # Should another worker have been faster, its round is the one.
    ledger.add_round(len(rounds), plan_round(proposals, ensemble=count, first=drawn))
    return True


def spec_of(ledger: Ledger) -> Spec:
    """Return the sweep's YAML as it was when the sweep was planned."""
    path = ledger.folder / "sweep.yaml"
    return parse_spec(read_text(path), ledger.id, str(path), tuple(ledger.about["changes"]))


def suggest(spec: Spec, told: list[tuple[dict[str, Any], float | None]], count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` new configs, given earlier ones with their figures (None: not known yet, or failed)."""
    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # What runs or failed counts as poor, so that a batch, or several workers, do not all ask for one place.
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler, direction=spec.metric["goal"])
    spaces = {key: _distribution(key, parameter) for key, parameter in spec.parameters.items() if parameter.varies}
    for config, value in told:
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.RUNNING,
            value=value,
            params={key: _to_optuna(spec.parameters[key], config[key]) for key in spaces},
            distributions=spaces,
        )
        study.add_trial(trial)
    proposals = []
    for _ in range(count):
        drawn = study.ask(spaces).params
        proposals.append(
            {
                key: _from_optuna(parameter, drawn[key]) if key in spaces else _constant(parameter)
                for key, parameter in spec.parameters.items()
            }
        )
    return proposals


def load_optuna() -> Any:
    """Return the package optuna; UserError with the command that installs it."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "method: bayes: the package optuna is missing; pip install 'bestguess[bayes]', or choose method: random"
        ) from error
    return optuna


def _distribution(key: str, parameter: Parameter) -> Any:
    distributions = load_optuna().distributions
    given = parameter.arguments
    match parameter.distribution:
        case "categorical" | "categorical_w_probabilities":
            # By position: Optuna wants choices that are numbers, words or None, and a list is none of them.
            return distributions.CategoricalDistribution(tuple(range(len(given["values"]))))
        case "int_uniform":
            return distributions.IntDistribution(given["min"], given["max"])
        case "uniform":
            return distributions.FloatDistribution(given["min"], given["max"])
        case "q_uniform":
            return distributions.FloatDistribution(given["min"], given["max"], step=given["q"])
        case "log_uniform":
            return distributions.FloatDistribution(math.exp(given["min"]), math.exp(given["max"]), log=True)
        case "log_uniform_values":
            return distributions.FloatDistribution(given["min"], given["max"], log=True)
        case other:
            raise UserError(f"parameters.{key}: method bayes needs bounds, and {other} has none; give min and max")


def _to_optuna(parameter: Parameter, value: Any) -> Any:
    return parameter.arguments["values"].index(value) if "values" in parameter.arguments else value


def _from_optuna(parameter: Parameter, value: Any) -> Any:
    return parameter.arguments["values"][value] if "values" in parameter.arguments else value


def _constant(parameter: Parameter) -> Any:
    return parameter.arguments["value"] if "value" in parameter.arguments else parameter.arguments["values"][0]


def _value(ledger: Ledger, run: str, spec: Spec) -> float | None:
    record = ledger.record(run)
    if record is None:
        return None
    figures = flatten(record["metrics"])
    name = spec.metric["name"]
    if figures.get(name) is None:
        raise UserError(f"metric.name: no figure {name!r} in {ledger.id}; known: {', '.join(figures)}")
    return float(figures[name])
