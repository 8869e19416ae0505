"""check.py APP VERIFIER: a Rails application that talks to a model, read everywhere, and run where it can be.

The reward is the mean of all scores, and half of that for an application which asks of RubyLLM what it has
not: no message of it will be answered. Scores of the static proofs are always there. Those that need Ruby are
there only where Ruby and the gems are; elsewhere that is said, and the mean is that of the others.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from application import Application
from proofs import PROOFS, RUBY
from runtime import every_file_is_ruby, has_its_gems, the_tests_pass, why_not


def static_scores(app: Application) -> dict[str, float]:
    if not app.is_rails:
        print("no Rails application: expected Gemfile and config/application.rb in this folder")
        return {proof.__name__: 0.0 for proof in PROOFS}
    scores: dict[str, float] = {}
    for proof in PROOFS:
        held = proof(app)
        for expected in (expected for expected, is_so in held.items() if not is_so):
            print(f"{proof.__name__}: expected {expected}")
        scores[proof.__name__] = round(sum(held.values()) / len(held), 6)
    return scores


def runtime_scores(app: Application) -> dict[str, float]:
    missing = why_not(app.root)
    if missing:
        print(f"runtime proofs were not made: {missing}")
        return {}
    if not app.is_rails:
        return {"every_file_is_ruby": 0.0, "the_tests_pass": 0.0}
    scores = {"every_file_is_ruby": float(every_file_is_ruby(app.root, list(app.matching(RUBY))))}
    if has_its_gems(app.root):
        scores["the_tests_pass"] = float(the_tests_pass(app.root))
    else:
        print("its tests were not run: gems that its Gemfile names are not installed here")
    return scores


def main() -> None:
    app, verifier = Application(Path(sys.argv[1])), Path(sys.argv[2])
    scores = static_scores(app) | runtime_scores(app)
    reward = sum(scores.values()) / len(scores) / (1 if scores["ruby_llm_as_it_is"] == 1 else 2)
    (verifier / "reward.json").write_text(json.dumps({"reward": round(reward, 6), **scores}))


main()
