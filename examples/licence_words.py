"""Which words are typical of which free licence? Map and reduce with @remote over the texts that Debian ships.

Each text is counted in a task of its own; the counts are merged pairwise, as a tree; then each text is compared with
the merged counts (tf-idf). A server must run (`rain start --simple`); its address may be given in RAIN_SERVER.
"""

import math
import os
import re
from collections import Counter
from pathlib import Path

from rain.client import Client, Output, remote, tasks

SERVER, PORT = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)
TEXTS = Path("/usr/share/common-licenses")
WORDS_SHOWN = 5


@remote(outputs=[Output(encode="pickle")])
def count_words(ctx, text):
    words = Counter(re.findall(r"[a-z]+", text.get_str().lower()))
    # How often each word is used, and in how many texts
    return words, Counter(words.keys())


@remote(outputs=[Output(encode="pickle")], auto_load=True)
def merge(ctx, left, right):
    return left[0] + right[0], left[1] + right[1]


@remote(outputs=[Output(encode="json")], auto_load=True)
def typical_words(ctx, one, all_texts, text_count):
    words, texts_with = one[0], all_texts[1]
    weights = {word: count * math.log(text_count / texts_with[word]) for word, count in words.items()}
    ranked = sorted(words, key=lambda word: (-weights[word], word))
    return {"words": sum(words.values()), "distinct": len(words), "typical": ranked[:WORDS_SHOWN]}


def licences():
    """The files that are texts of their own, not links to others."""
    return sorted(path for path in TEXTS.iterdir() if path.is_file() and not path.is_symlink())


def analyse(paths):
    """For each text its figures; for all together the most frequent words."""
    with Client(SERVER, int(PORT)) as client, client.new_session("licence words") as session:
        counts = [count_words(tasks.Load(str(path))) for path in paths]

        level = counts
        while len(level) > 1:
            merged = [merge(left, right) for left, right in zip(level[::2], level[1::2])]
            level = merged + level[len(merged) * 2 :]
        total = level[0]

        results = [typical_words(one, total, len(paths)) for one in counts]
        for task in (total, *results):
            task.output.keep()
        session.submit()

        frequent = total.output.fetch().load()[0]
        figures = {path.name: result.output.fetch().load() for path, result in zip(paths, results)}
        return figures, sorted(frequent.items(), key=lambda item: (-item[1], item[0]))[:WORDS_SHOWN]


def main():
    figures, frequent = analyse(licences())
    print(f"{'licence':<12} {'words':>6} {'distinct':>8}  typical words")
    for name, figure in figures.items():
        print(f"{name:<12} {figure['words']:>6} {figure['distinct']:>8}  {' '.join(figure['typical'])}")
    print("most frequent in all:", ", ".join(f"{word} ({count})" for word, count in frequent))


if __name__ == "__main__":
    main()
