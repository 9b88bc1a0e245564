"""Errands: a corpus of dialogues with summaries, and of stories, whose best possible prediction is known exactly."""
