"""How many well-known sequences `integers predict` continues: by the generator's recurrences, by rules outside them.

The last term of each is hidden, the rest (up to eight terms) is asked about.

    python benchmarks/well_known.py            # the lists of our own; or by name: own, unseen, others, fresh
"""

from __future__ import annotations

import sys

from bestguess.integers.commands.predict import NEVER, ask, sentence_of
from bestguess.integers.model.portable import SHIPPED, load_portable
from sequences import FRESH, OTHERS, OWN, UNSEEN

LISTS = {"own": OWN, "unseen": UNSEEN, "others": OTHERS, "fresh": FRESH}


def main() -> None:
    """Print what each sequence is continued with, and how many rightly; which wrongly, and which without a warning."""
    model = load_portable(SHIPPED)
    for which in sys.argv[1:] or ["own", "unseen"]:
        right, wrong, sure = 0, [], []
        for name, text in LISTS[which].items():
            *given, expected = (int(word) for word in text.split())
            asked = ask(model, tuple(given), 1)
            found = asked.expected[:1]
            hit = found == (expected,)
            told = sentence_of(asked, 1)
            right += hit
            wrong += [name] if found and not hit else []
            sure += [name] if not hit and NEVER not in told else []
            print(f"{'right' if hit else 'WRONG' if found else 'none '}  {name}: {told}")
        print(f"{which}: {right} of {len(LISTS[which])} continued rightly; wrongly: {', '.join(wrong) or 'none'}")
        print(f"{which}: without a warning where not rightly: {', '.join(sure) or 'none'}\n")


if __name__ == "__main__":
    main()
