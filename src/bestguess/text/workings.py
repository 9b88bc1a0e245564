"""How the text family is trained and judged: the loss of a document's target, from its source."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bestguess.command import Absent, UserError
from bestguess.config import to_dict
from bestguess.family import Measured, Trained, Workings
from bestguess.report.story import Story
from bestguess.text import answers, page, trained
from bestguess.text.attention.figures import attention_figures
from bestguess.text.config import TextConfig
from bestguess.text.corpus import about_of
from bestguess.text.documents import Documents, small
from bestguess.text.evaluate import (
    Constant,
    Evaluation,
    ModelPredictor,
    OraclePredictor,
    Outside,
    Predictor,
    evaluate,
)
from bestguess.text.model import TextModel
from bestguess.text.packing import documents_to_draw, packed
from bestguess.text.problem import Own, TextProblem
from bestguess.text.start import Start, drawn_anew, read_start
from bestguess.text.task import About, TextTask, laid_out, task_of
from bestguess.text.written import Written, written


@dataclass(frozen=True, eq=False)
class TextEvaluation:
    """One predictor's losses on the test documents, and what it writes for them."""

    losses: Evaluation
    written: Written | None
    """None: no model, or not asked for."""
    task: TextTask
    source: dict[str, float | None] | None = None
    """By how much a model's loss rises without the documents' own sources, see `source_dependence`."""


class TextWorkings(Workings[TextConfig, TextTask, Predictor, TextEvaluation]):
    """The workings of the text family. A predictor takes pairs and predicts every token of their targets."""

    # Training.

    def task(self, config: TextConfig) -> TextTask:
        """Return the documents of the config's corpus; the same object for the same ones."""
        batch = config.train.batch_size
        drawn = config.train.steps * batch if config.task.endless else 0
        rest = config.train.validation_sequences, config.test_documents
        task = task_of(about_of, config.task, drawn, *rest)
        packing = config.objective.packing
        if packing and config.task.endless:
            task = task_of(about_of, config.task, documents_to_draw(config, task.about.training), *rest)
        about, what = task.about, f"rows of {packing} tokens" if packing else "documents"
        if (have := _sequences(config, about)) < batch and not about.window:
            raise UserError(f"--batch-size {batch}: {about.name} has {have:,} training {what}; give {have}")
        return task

    def training_sequences(self, config: TextConfig) -> int:
        """Return how many documents, rows of packed ones, or windows the training part has."""
        return _sequences(config, self.task(config).about)

    def problem(self, configs: Sequence[TextConfig], tasks: Sequence[TextTask]) -> TextProblem:
        """Return what trains models of one shape on documents that all runs share."""
        about, config = tasks[0].about, configs[0]
        rows, widths = packed(config, about.training) if config.objective.packing else (None, ())
        return TextProblem(
            Documents.of(about.training[:1] if about.window else about.training, about.vocab),
            Documents.of(about.validation, about.vocab),
            config,
            about.vocab,
            rows,
            widths,
            self._start(config, about),
            about.text if about.text is None else small(about.text, about.vocab),
        )

    def _start(self, config: TextConfig, about: About) -> Start | None:
        """What a training begins with; of a folder that is gone nothing is needed where a training has begun."""
        there = config.objective.start and Path(config.objective.start).is_dir()
        return read_start(config, about) if there else None

    def check_new(self, config: TextConfig) -> None:
        """Raise a UserError where the weights to begin with are gone."""
        if config.objective.start and not Path(config.objective.start).is_dir():
            raise Absent(f"--start {config.objective.start}: no such folder; train that model first")

    def own(self, configs: Sequence[TextConfig], tasks: Sequence[TextTask]) -> Own:
        """Return each run's seed."""
        return Own(np.asarray([config.train.first_seed for config in configs], np.int32))

    def tokens(self, config: TextConfig) -> int:
        """Return the tokens of a packed row, or of the longest document in both parts."""
        about = self.task(config).about
        return config.objective.packing or about.source_width + about.target_width

    def sizes(self, config: TextConfig) -> dict[str, int]:
        """Return the bytes of a micro-batch in the model, in bfloat16 and with one token a document at the least."""
        train = config.train
        return {f"--batch-size {train.batch_size}": train.batch_size // train.accumulate * 2 * config.model.d_model}

    def notes(self, config: TextConfig) -> list[str]:
        """Return what the corpus is, what was left out of it, and how many parameters the model has."""
        about = self.task(config).about
        anew = drawn_anew(config, about)
        return answers.notes(config, about) + ([] if anew is None else [f"--start: {anew.told()}"])

    # Judging.

    def predictor(self, model: TextModel, task: TextTask) -> ModelPredictor:
        """Return a trained model as a predictor."""
        return ModelPredictor(model)

    def oracle(self, config: TextConfig, task: TextTask) -> Predictor:
        """Return the plain forward algorithm; where the oracle is not known, the best constant in its place."""
        about = task.about
        return Constant(about.log_constant) if about.known is None else OraclePredictor(about.known)

    def constant(self, config: TextConfig, task: TextTask) -> Constant:
        """Return the frequencies at each place; where the oracle is not known, the uniform distribution."""
        about = task.about
        return Constant(np.zeros_like(about.log_constant) if about.known is None else about.log_constant)

    def outside(self, config: TextConfig, task: TextTask, predict: Callable[[np.ndarray], np.ndarray]) -> Outside:
        """Return anybody's callable: sequences [n, S + 1 + U] → logits of every element from those before it."""
        return Outside(predict, task.about.source_width)

    def predicted_size(self, config: TextConfig, task: TextTask) -> tuple[int]:
        """Return the number of tokens in the vocabulary."""
        return (task.about.vocab,)

    def sequences(self, config: TextConfig, task: TextTask, count: int) -> np.ndarray:
        """Return training documents in the fixed layout, int32 [count, S + 1 + U]."""
        training = task.about.training
        return laid_out(training[np.arange(count) % len(training)])

    def evaluated(self, config: TextConfig) -> str:
        """Return the documents and what is generated: neither the model nor the training changes that."""
        plain = to_dict(config)
        return json.dumps([plain[key] for key in ("task", "generation", "test_documents", "generated")], sort_keys=True)

    def evaluate(
        self,
        config: TextConfig,
        task: TextTask,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> TextEvaluation:
        """Return the losses on the first test documents, and of a model what it writes for them."""
        count = config.test_documents if sequences is None else min(sequences, config.test_documents)
        found = evaluate(task.about, predictor, count)
        if not isinstance(predictor, ModelPredictor):
            return TextEvaluation(found, None, task)
        told = None
        if config.generated:
            told = written(task.about, predictor.model, config.generation, min(count, config.generated))
        return TextEvaluation(found, told, task, trained.source_dependence(task.about, predictor, found))

    def measured(self, config: TextConfig, task: TextTask, found: TextEvaluation) -> list[Measured]:
        """Return the regret of a document (nats); without a known oracle, the loss over the best constant's."""
        losses = found.losses
        if losses.regret is not None:
            assert losses.floor is not None
            assert losses.ceiling is not None
            each, count = losses.regret.sum(axis=1), len(losses.pairs)
            error = float(each.std(ddof=1) / math.sqrt(count)) if count > 1 else 0.0
            floor, ceiling = (float(one.sum(axis=1).mean()) for one in (losses.floor, losses.ceiling))
            return [Measured("nats per document", float(each.mean()), error, count, floor, ceiling, 1.0)]
        log_p, count = task.about.log_constant.astype(np.float64), len(losses.pairs)
        expected = -float(log_p[losses.pairs.target[losses.there]].sum()) / count
        uniform = math.log(len(log_p)) * losses.tokens / count
        over = float(losses.nats.sum()) / count - expected
        unit = max(1.0, uniform)
        return [Measured("nats per document over the best constant", over, None, count, expected, uniform, unit)]

    def by_position(self, found: TextEvaluation) -> np.ndarray:
        """Return the regret at each place of the target (nats); without a known oracle, the loss."""
        losses = found.losses
        return losses.nats.mean(axis=0) if losses.regret is None else losses.regret.mean(axis=0)

    # What is written.

    def figures(self, found: TextEvaluation, part: str) -> dict[str, Any]:
        """Return the figures, by kind of token and by place, and what was generated."""
        return answers.figures(found.losses, found.written, found.task.about) | {"source": found.source}

    def record(self, found: TextEvaluation) -> dict[str, Any]:
        """Return losses, regret and floor, facts, and some of what is written."""
        told = answers.record(found.losses, found.written, found.task.about)
        return told if found.written is None else told | {"samples": answers.samples_of(found.written)}

    def trained_record(
        self, training: Trained, i: int, curve: Sequence[Mapping[str, Any]], found: TextEvaluation
    ) -> dict[str, Any]:
        """Return what the training cost, its curve, how much the model takes from the source, and its attention."""
        told = trained.record(training, i, curve, found.losses)
        return told | {"source": found.source} | self._attention(training, i)

    def results(self, training: Trained, found: Sequence[TextEvaluation], part: str) -> dict[str, Any]:
        """Return what the run that is shown comes to, and some of what it writes."""
        told = answers.results(training, [one.losses for one in found], [one.written for one in found])
        return told | self._attention(training, told["shown"])

    def _attention(self, training: Trained, i: int) -> dict[str, Any]:
        """Return a run's attention in figures, where the config asks for them."""
        config = training.runs[i].config
        if not config.attention_documents:
            return {}
        about, model = training.tasks[i].about, training.model(i)
        return {"attention": attention_figures(about, model, config.generation, config.attention_documents)}

    def answer(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures of the run that is shown beside those of all."""
        return answers.answer(results["evaluation"])

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return what the console shows of an evaluation."""
        return page.table(training, results["evaluation"])

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page."""
        return page.story(training, results["evaluation"])


def _sequences(config: TextConfig, about: About) -> int:
    """How many training sequences there are: rows, where documents are packed."""
    return len(packed(config, about.training).rows if config.objective.packing else about.training)
