"""The next runs of a bayes sweep: Optuna's TPE, told of everything that the ledger holds."""

from __future__ import annotations

import fnmatch
import math
from typing import Any

from bestguess.command import Absent, UserError, nearest, with_extra
from bestguess.family import Family
from bestguess.files import read_text
from bestguess.sweep.distributions import Parameter, identity, quantile, rank
from bestguess.sweep.draw import others
from bestguess.sweep.keys import OF_EVERY_RUN, VALIDATION
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import plan_round
from bestguess.sweep.spec import Spec, flatten, parse_spec


def propose(ledger: Ledger) -> bool:
    """Add a round of runs to a bayes sweep and return True; False where it is of another kind, or has all its runs.

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
    return parse_spec(read_text(path), ledger.id, str(path), tuple(ledger.about["changes"]), ledger.planned)


def check_metric(spec: Spec, family: Family) -> None:
    """Raise a UserError where a bayes sweep optimises a figure that a run of this family does not have."""
    name = spec.metric["name"]
    known = figures_of_runs(family)
    if not any(fnmatch.fnmatchcase(name, one) for one in known):
        hint = nearest(name, known)
        raise UserError(f"metric.name: a run of {family.name} has no figure {name!r}{hint} (known: {', '.join(known)})")


def figures_of_runs(family: Family) -> list[str]:
    """Return the names of the figures that a bayes sweep may optimise; * stands for what the config names."""
    levels = [f"sequences_to_{measure}_{level:g}" for measure, of in family.levels.items() for level in of]
    return list(dict.fromkeys((VALIDATION, family.reported, *family.figures, *levels, *OF_EVERY_RUN)))


def suggest(spec: Spec, told: list[tuple[dict[str, Any], float | None]], count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` new configs, given earlier ones with their figures (None: not known yet, or failed).

    None of them is like another or like an earlier one; where there are not so many others, they are fewer.
    """
    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # What runs or failed counts as poor, so that a batch, or several workers, do not all ask for one place.
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler, direction=spec.metric["goal"])
    spaces = {key: _distribution(parameter) for key, parameter in spec.parameters.items() if parameter.varies}
    for config, value in told:
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.RUNNING,
            value=value,
            params={key: _to_optuna(spec.parameters[key], config[key]) for key in spaces},
            distributions=spaces,
        )
        study.add_trial(trial)
    proposals: list[dict[str, Any]] = []
    seen = {identity({key: config[key] for key in spec.parameters}) for config, _ in told}
    new = others(spec, seed, seen)
    for _ in range(count):
        asked = study.ask(spaces).params
        proposal = {key: _from_optuna(one, asked.get(key)) for key, one in spec.parameters.items()}
        if (found := identity(proposal)) in seen:
            drawn = next(new, None)
            if drawn is None:
                break
            proposal = drawn
        seen.add(found)
        proposals.append(proposal)
    return proposals


def load_optuna() -> Any:
    """Return the package optuna; UserError with the command that installs it."""
    try:
        import optuna
    except ImportError as error:
        raise Absent(
            f"method: bayes: the package optuna is missing; {with_extra('bayes', 'optuna')}, or choose method: random"
        ) from error
    return optuna


def _distribution(parameter: Parameter) -> Any:
    distributions = load_optuna().distributions
    given = parameter.arguments
    match parameter.distribution:
        case "categorical":
            # By position: Optuna wants choices that are numbers, words or None, and a list is none of them.
            return distributions.CategoricalDistribution(tuple(range(len(given["values"]))))
        case "int_uniform":
            return distributions.IntDistribution(given["min"], given["max"])
    # At which u: where its quantile function is flat or steep, the prior is W&B's all the same.
    return distributions.FloatDistribution(0.0, 1.0)


def _to_optuna(parameter: Parameter, value: Any) -> Any:
    match parameter.distribution:
        case "categorical":
            return parameter.arguments["values"].index(value)
        case "int_uniform":
            return value
    return rank(parameter, value)


def _from_optuna(parameter: Parameter, value: Any) -> Any:
    if not parameter.varies:
        return quantile(parameter, 0.5)
    match parameter.distribution:
        case "categorical":
            return parameter.arguments["values"][value]
        case "int_uniform":
            return value
    return quantile(parameter, value)


def _value(ledger: Ledger, run: str, spec: Spec) -> float | None:
    """A run's figure; the worst there is for one that does not have it, such as a level that it did not reach."""
    record = ledger.record(run)
    if record is None:
        return None
    found = flatten(record["metrics"]).get(spec.metric["name"])
    if isinstance(found, int | float):
        return float(found)
    return math.inf if spec.metric["goal"] == "minimize" else -math.inf
